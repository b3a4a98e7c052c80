"""The pytest side of a run of checks: builds what they need, and writes the record and the reports."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from parity import report
from parity.plan.weights import WeightsError, assert_there
from parity.plugin import selection
from parity.plugin.items import CHECK, GATES, CheckItem, GatesItem, check_items
from parity.plugin.names import ITEMS, MEASURED, PARITY
from parity.plugin.suite import build_missing, suite_of
from parity.record import run
from parity.record.obstacles import obstacles
from parity.record.run import Errored, LeftOut, RunRecord, Skipped
from parity.record.suite import Suite
from parity.report.terminal import table

OUTCOMES = pytest.StashKey["Outcomes"]()
WRITTEN = pytest.StashKey[tuple[RunRecord, Path]]()
_TOLD = "parity_selected"


@dataclass(eq=False)
class Outcomes:
    """Checks as the controlling process hears of them. It is a plugin of pytest, and hears the reports of all workers.

    selected: the ids of those selected.
    others: the names of the other items selected: the gates of systems.
    collected: the names of all items, before anything is left out.
    asked: the names of those that the command line's own options leave out.
    blocked: the ids of those that can't be judged, each with the reason.
    ended: those that ended without a verdict.
    """

    selected: dict[str, None] = field(default_factory=dict)
    others: dict[str, None] = field(default_factory=dict)
    collected: dict[str, None] = field(default_factory=dict)
    asked: dict[str, None] = field(default_factory=dict)
    blocked: dict[str, str] = field(default_factory=dict)
    ended: dict[str, pytest.TestReport] = field(default_factory=dict)

    @property
    def failed(self) -> list[str]:
        return [id for id, report in self.ended.items() if report.failed]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep whatever fails under the mark, a check or not: the run fails as well, as pytest's own summary does."""
        if PARITY in report.keywords and not report.passed:
            self.ended[str(dict(report.user_properties).get(CHECK, report.nodeid))] = report

    def told(self) -> dict[str, dict[str, Any]]:
        """Return what a worker tells of its collection."""
        return {name: getattr(self, name) for name in ("selected", "others", "collected", "asked", "blocked")}


def pytest_configure(config: pytest.Config) -> None:
    config.stash.setdefault(ITEMS, []).append(check_items)


def pytest_sessionstart(session: pytest.Session) -> None:
    session.config.stash[OUTCOMES] = Outcomes()
    session.config.pluginmanager.register(session.config.stash[OUTCOMES])
    if session.config.option.collectonly and (removed := selection.elsewhere(session.config, "collectonly")):
        raise pytest.UsageError(f"{removed} leaves out every check: give it on the command line")
    try:
        assert_there(session.config.option.parity_weights)
    except WeightsError as error:
        raise pytest.UsageError(str(error)) from error
    if _writes(session.config):
        suite_of(session.config).begin()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["parity_run"] = suite_of(node.config).run_id
    node.workerinput[selection.ARGUMENTS] = selection.arguments(node.config)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> Iterator[None]:
    """Note which checks the command line leaves out. Say why there are none, such as a folder without any artifact."""
    collected = [item for item in items if isinstance(item, CheckItem | GatesItem)]
    if not session.testsfailed and not any(isinstance(item, CheckItem) for item in collected):
        try:
            suite_of(session.config).plan()
        except ValueError as error:
            raise pytest.UsageError(str(error)) from error
    result = yield
    outcomes, kept = session.config.stash[OUTCOMES], set(items)
    left_out = [item for item in collected if item not in kept]
    outcomes.collected.update({item.name: None for item in collected})
    outcomes.asked.update(dict.fromkeys(selection.asked(session.config, left_out)))
    if not session.config.option.collectonly:
        checks = [item.check for item in items if isinstance(item, CheckItem)]
        outcomes.blocked.update(obstacles(suite_of(session.config), checks))
        items[:] = [item for item in items if item.name not in outcomes.blocked or not isinstance(item, CheckItem)]
    return result


def pytest_collection_finish(session: pytest.Session) -> None:
    config = session.config
    outcomes = config.stash[OUTCOMES]
    checks = [item.check for item in session.items if isinstance(item, CheckItem)]
    outcomes.selected.update({check.id: None for check in checks})
    outcomes.others.update({item.name: None for item in session.items if isinstance(item, GatesItem)})
    if hasattr(config, "workeroutput"):
        config.workeroutput[_TOLD] = outcomes.told()
    elif checks and _writes(config):
        for said in dict.fromkeys(outcomes.blocked.values()):
            config.get_terminal_writer().line(f"not judged: {said}")
        # Who debugs, or stops at a failure, wants the first check now and not all of them soon.
        soon = config.option.maxfail or config.option.usepdb or suite_of(config).runtimes[0].name != "milrun"
        config.stash[MEASURED] = build_missing(config, checks, measure=not soon)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Learn from a worker which checks were selected."""
    for name, known in getattr(node, "workeroutput", {}).get(_TOLD, {}).items():
        getattr(node.config.stash[OUTCOMES], name).update(known)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """Write the record, and add what no test tells to the JUnit XML that pytest has written by then."""
    config = session.config
    if _writes(config):
        _finish(session)
    result = yield
    path = getattr(config.option, "xmlpath", None)
    if path and WRITTEN in config.stash:
        record, failed = config.stash[WRITTEN][0], config.stash[OUTCOMES].failed
        untold = [said for said in record.problems() if not any(said.startswith(f"{id}: ") for id in failed)]
        report.add_to_junit(config.invocation_params.dir / path, PARITY, untold)
    return result


def _finish(session: pytest.Session) -> None:
    """Write the record. A run whose record does not pass fails, also where pytest skips or expects failures."""
    config = session.config
    suite, outcomes = suite_of(config), config.stash[OUTCOMES]
    # Before a collection that failed, and after options that can't be, there is nothing to say of what was left out.
    broken = session.testsfailed or session.exitstatus == pytest.ExitCode.USAGE_ERROR
    left_out = [] if broken and not (outcomes.selected or outcomes.blocked) else _left_out(config, suite, outcomes)
    if outcomes.selected or any(one.by for one in left_out):
        record = suite.record(list(outcomes.selected), *_without_verdict(suite, outcomes), left_out=left_out)
        page = report.write(record, suite.folder, suite.evidence, run.history(suite.project.state_folder))
        config.stash[WRITTEN] = (record, page)
        if not record.passed and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
    suite.end()


def _left_out(config: pytest.Config, suite: Suite, outcomes: Outcomes) -> list[LeftOut]:
    """Return what a complete run would have selected as well, and what removed it."""
    checks = suite.plan()
    planned = {check.id: (check.system, check.stage) for check in checks}
    planned |= {f"{system}-{GATES}": (system, GATES) for system in dict.fromkeys(check.system for check in checks)}
    known = outcomes.selected | outcomes.others
    left_out = {id: place for id, place in planned.items() if id not in known}
    if not left_out:
        return []
    what = selection.elsewhere(config) or "a hook, a plugin or a setting such as collect_ignore"
    by = f"{what} removed them, and only the command line itself may"
    uncollected = left_out.keys() - outcomes.collected.keys() if selection.files_asked(config) else set()
    asked = uncollected | outcomes.asked.keys()
    return [LeftOut(id, *place, "" if id in asked else outcomes.blocked.get(id, by)) for id, place in left_out.items()]


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if WRITTEN in config.stash:
        record, page = config.stash[WRITTEN]
        terminalreporter.section("parity", "─")
        terminalreporter.write_line(table(record))
        terminalreporter.write_line(f"report: {page.relative_to(suite_of(config).root)}")


def _writes(config: pytest.Config) -> bool:
    """Return whether this process writes the record of the run: it is the only one, or the one that has workers."""
    return not hasattr(config, "workerinput") and not config.option.collectonly


def _without_verdict(suite: Suite, outcomes: Outcomes) -> tuple[list[Errored], list[Skipped]]:
    """Return what raised and what was skipped. Only a check can be skipped: the record shows the verdict it misses."""
    judged = run.judged(suite.folder)
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
    """Return what the exception says, which names the mend; the last line of a traceback only names a place."""
    crash = getattr(failed.longrepr, "reprcrash", None)
    return str(crash.message) if crash else str(failed.longrepr).strip().splitlines()[0]


def _reason(skipped: pytest.TestReport) -> str:
    said = skipped.longrepr[2] if isinstance(skipped.longrepr, tuple) else getattr(skipped, "wasxfail", "")
    return said.removeprefix("Skipped: ") or "no reason was given"
