"""The pytest side of the bench: generates its tests, keeps it from measuring what means nothing, and writes it down."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from parity.bench import record as records
from parity.bench.baseline import BaselineError
from parity.bench.record import BenchRecord
from parity.bench.session import Bench
from parity.bench.subjects import Kind, Subject
from parity.bench.table import table
from parity.plugin import skips
from parity.plugin.checks import build_missing
from parity.plugin.suite import suite_of

BENCH = pytest.StashKey[Bench]()
FAILED = pytest.StashKey[dict[str, tuple[Subject | None, str]]]()
RECORD = pytest.StashKey[BenchRecord]()
SELECTED = pytest.StashKey[tuple[Subject, ...]]()
SUBJECT = "subject"
MARK = "bench"
KINDS = get_args(Kind)
JSON = "benchmark.json"
ALONE = "the bench needs the machine to itself and pytest-benchmark enabled: leave out -n and --benchmark-disable"


def pytest_configure(config: pytest.Config) -> None:
    if config.option.parity_bench_reason and not config.option.parity_bench_record:
        raise pytest.UsageError("--bench-reason is about a baseline that changes: give --bench-record as well")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker("measures")
    if marker and SUBJECT in metafunc.fixturenames:
        plan = bench_of(metafunc.config).plan(*marker.args)
        metafunc.parametrize(SUBJECT, plan, ids=[subject.test for subject in plan])


@pytest.fixture
def bench(request: pytest.FixtureRequest) -> Bench:
    """The bench of this run, if it can measure at all."""
    config = request.config
    timed = "benchmark" in request.fixturenames
    if _shared(config) or (timed and not request.getfixturevalue("benchmark").enabled):
        pytest.fail(ALONE, pytrace=False)
    if len(suite_of(config).runtimes) > 1:
        pytest.fail("the bench times one runtime: give --numerics one name", pytrace=False)
    return bench_of(config)


def pytest_collection_finish(session: pytest.Session) -> None:
    config = session.config
    subjects = tuple(subject for item in session.items if (subject := subject_of(item)))
    config.stash[SELECTED] = subjects
    if not subjects or config.option.collectonly or _shared(config):
        return
    found = bench_of(config)
    for system in dict.fromkeys(subject.system for subject in subjects):
        if found.recording and found.bounds(system).baseline and not config.option.parity_bench_reason.strip():
            raise pytest.UsageError(f"{system} has a baseline of this machine: say why it changes, with --bench-reason")
    build_missing(config, list(dict.fromkeys(found.check(subject) for subject in subjects)))
    kept = config.pluginmanager.get_plugin("pytest-benchmark")
    if kept is not None:
        # Its own table has no stages and no ratios; what it is asked to compare with is still shown.
        kept.quiet = not (kept.verbose or kept.compare)
        if not kept.json:
            folder = suite_of(config).folder
            folder.mkdir(parents=True, exist_ok=True)
            kept.json = str(folder / JSON)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """A benchmark that was skipped measured nothing, and nothing may pass so."""
    report: pytest.TestReport = yield
    if item.get_closest_marker(MARK) is not None:
        why = skips.failed(report, item, call, so="it measured nothing")
        if why is not None:
            item.config.stash.setdefault(FAILED, {})[item.name] = (subject_of(item), why)
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    selected = config.stash.get(SELECTED, ())
    if not selected or config.option.collectonly or _shared(config):
        return
    found, errors = bench_of(config), _errors(config)
    recorded: list[str] = []
    if found.recording:
        try:
            recorded = found.record_baselines(config.option.parity_bench_reason)
        except BaselineError as error:
            errors["--bench-record"] = str(error)
    if not found.rulings or errors:
        session.exitstatus = max(session.exitstatus, pytest.ExitCode.TESTS_FAILED)
    partial = set(selected) != set(found.plan(*KINDS))
    config.stash[RECORD] = found.record(partial, errors, tuple(recorded))
    records.save(config.stash[RECORD], suite_of(config).folder)
    found.close()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    record = config.stash.get(RECORD, None)
    if record is None:
        return
    terminalreporter.section("bench", "─")
    terminalreporter.write_line(table(record))
    for line in record.recorded:
        terminalreporter.write_line(f"baseline: {line}")
    for name, lines in bench_of(config).suggestions.items():
        terminalreporter.write_line("\n".join(["", f"[{name}]", *lines]))


def bench_of(config: pytest.Config) -> Bench:
    if BENCH not in config.stash:
        config.stash[BENCH] = Bench(suite_of(config), config.option.parity_bench_record)
    return config.stash[BENCH]


def subject_of(item: pytest.Item) -> Subject | None:
    """The benchmark that a generated test runs; None for any other test."""
    parameters: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    return parameters.get(SUBJECT)


def _errors(config: pytest.Config) -> dict[str, str]:
    """What failed without a ruling that says why."""
    rulings = bench_of(config).rulings
    return {
        name: said
        for name, (subject, said) in config.stash.get(FAILED, {}).items()
        if subject is None or subject not in rulings or rulings[subject].passed
    }


def _shared(config: pytest.Config) -> bool:
    """Whether other workers take their share of the machine."""
    return hasattr(config, "workerinput") or config.getoption("dist", "no") != "no"
