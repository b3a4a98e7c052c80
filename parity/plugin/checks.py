"""The pytest side of a run: generates a test for every check, builds what they need, and writes the record."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest

from parity import report
from parity.base.progress import Progress
from parity.build import prebuild
from parity.record import run
from parity.record.run import Errored, RunRecord, Skipped
from parity.record.suite import Suite
from parity.report.terminal import table
from parity.verdict import Check

SUITE = pytest.StashKey[Suite]()
OUTCOMES = pytest.StashKey["Outcomes"]()
WRITTEN = pytest.StashKey[tuple[RunRecord, report.Written]]()
CHECK = "check"
PARITY = "parity"


@dataclass
class Outcomes:
    """What the controlling process hears of the checks: which were selected, and which ended without a verdict."""

    selected: dict[str, None] = field(default_factory=dict)
    ended: dict[str, pytest.TestReport] = field(default_factory=dict)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if CHECK in metafunc.fixturenames:
        plan = metafunc.config.stash[SUITE].plan()
        # The id of a check is its name everywhere: on the command line, in reports, in the record.
        metafunc.parametrize(CHECK, plan, ids=[check.id for check in plan], indirect=True)


def pytest_sessionstart(session: pytest.Session) -> None:
    session.config.stash[OUTCOMES] = Outcomes()
    session.config.pluginmanager.register(Listener(session.config.stash[OUTCOMES]))
    if not hasattr(session.config, "workerinput"):
        session.config.stash[SUITE].begin()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["parity_run"] = node.config.stash[SUITE].run_id


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any, ids: Iterable[str]) -> None:
    """Workers collect; the controller learns from them what was selected."""
    node.config.stash[OUTCOMES].selected.update(
        {id.split("[", 1)[1].removesuffix("]"): None for id in ids if "test_parity.py::test_output_is_upstreams[" in id}
    )


def pytest_collection_finish(session: pytest.Session) -> None:
    checks = [check for item in session.items if (check := check_of(item))]
    session.config.stash[OUTCOMES].selected.update({check.id: None for check in checks})
    if checks and not hasattr(session.config, "workerinput") and not session.config.option.collectonly:
        build_missing(session.config, checks)


class Listener:
    """Hears the reports of all workers."""

    def __init__(self, outcomes: Outcomes) -> None:
        self.outcomes = outcomes

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Whatever fails under the mark fails the run, a check or not: else its own table would contradict pytest."""
        if PARITY in report.keywords and not report.passed:
            self.outcomes.ended[str(dict(report.user_properties).get(CHECK, report.nodeid))] = report


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A run whose record is no pass is none, whatever pytest makes of skipped tests and expected failures."""
    config = session.config
    if hasattr(config, "workerinput"):
        return
    suite, outcomes = config.stash[SUITE], config.stash[OUTCOMES]
    if outcomes.selected and not config.option.collectonly:
        record = suite.record(list(outcomes.selected), *_without_verdict(suite, outcomes))
        config.stash[WRITTEN] = (
            record,
            report.write(record, suite.folder, suite.evidence, run.history(suite.project.state_folder)),
        )
        if not record.passed and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
    suite.end()


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if WRITTEN in config.stash:
        record, written = config.stash[WRITTEN]
        terminalreporter.section("parity", "─")
        terminalreporter.write_line(table(record))
        terminalreporter.write_line(f"report: {written.page.relative_to(config.stash[SUITE].root)}")


def _without_verdict(suite: Suite, outcomes: Outcomes) -> tuple[list[Errored], list[Skipped]]:
    """A test under the mark that is no check has no verdict to be missed: skipped, it is an error."""
    judged = {verdict.id for verdict in run.collect(suite.folder)}
    errors, skipped = [], []
    for id, ended in outcomes.ended.items():
        if ended.failed and id not in judged:
            errors.append(Errored(id, _cause(ended)))
        elif ended.skipped and id in outcomes.selected:
            skipped.append(Skipped(id, _reason(ended)))
        elif ended.skipped:
            errors.append(Errored(id, f"skipped: {_reason(ended)}"))
    return errors, skipped


def _cause(failed: pytest.TestReport) -> str:
    """What the exception says, which names the mend; the last line of a traceback only names a place."""
    crash = getattr(failed.longrepr, "reprcrash", None)
    return str(crash.message) if crash else str(failed.longrepr).strip().splitlines()[-1]


def _reason(skipped: pytest.TestReport) -> str:
    said = skipped.longrepr[2] if isinstance(skipped.longrepr, tuple) else getattr(skipped, "wasxfail", "")
    return said.removeprefix("Skipped: ") or "no reason was given"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if check := check_of(item):
        item.user_properties.append((CHECK, check.id))


def check_of(item: pytest.Item) -> Check | None:
    """The check that a generated test makes; None for any other test."""
    parameters: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    return parameters.get(CHECK)


def build_missing(config: pytest.Config, checks: list[Check]) -> None:
    """The artifacts that these checks need and that are not there yet; the bench needs them as well."""
    suite = config.stash[SUITE]
    needs = suite.wanted(checks)
    if not needs:
        return
    capture = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled(), Progress(len(needs), "building artifacts", every=10) as progress:
        prebuild.build(needs, suite.options.weights, suite.cache, progress)
