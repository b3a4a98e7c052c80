"""The pytest side of the bench: generates its tests, keeps it from measuring what means nothing, and writes it down."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from parity.bench import record as records
from parity.bench.baseline import BaselineError
from parity.bench.benchmarks import Benchmark
from parity.bench.measurements import Mode
from parity.bench.record import BenchRecord
from parity.bench.session import Bench
from parity.bench.summary import summary
from parity.bench.table import table
from parity.plugin import skips
from parity.plugin.checks import build_missing
from parity.plugin.suite import suite_of

BENCH = pytest.StashKey[Bench]()
FAILED = pytest.StashKey[dict[str, tuple[Benchmark | None, str]]]()
RECORD = pytest.StashKey[BenchRecord]()
SELECTED = pytest.StashKey[tuple[Benchmark, ...]]()
CASE = "case"
MARK = "bench"
JSON = "benchmark.json"
ALONE = "the bench needs the machine to itself and pytest-benchmark enabled: leave out -n and --benchmark-disable"


def pytest_configure(config: pytest.Config) -> None:
    if config.option.parity_bench_reason and not config.option.parity_bench_record:
        raise pytest.UsageError("--bench-reason is about a baseline that changes: give --bench-record as well")
    if config.option.parity_quick and config.option.parity_bench_record:
        raise pytest.UsageError("--quick measures too little for a baseline: leave it out to record one")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker("measures")
    if marker and CASE in metafunc.fixturenames:
        plan = [one for one in bench_of(metafunc.config).plan() if one.kind in marker.args]
        metafunc.parametrize(CASE, plan, ids=[one.test for one in plan])


@pytest.fixture
def bench(request: pytest.FixtureRequest) -> Bench:
    """Return the bench of this run; fail a test that it cannot measure."""
    config = request.config
    timed = "benchmark" in request.fixturenames
    if _shared(config) or (timed and not request.getfixturevalue("benchmark").enabled):
        pytest.fail(ALONE, pytrace=False)
    if len(suite_of(config).runtimes) > 1:
        pytest.fail("the bench times one runtime: give --numerics one name", pytrace=False)
    return bench_of(config)


def pytest_collection_finish(session: pytest.Session) -> None:
    config = session.config
    selected = tuple(one for item in session.items if (one := benchmark_of(item)))
    config.stash[SELECTED] = selected
    if not selected or config.option.collectonly or _shared(config):
        return
    found = bench_of(config)
    systems = dict.fromkeys(one.system for one in selected)
    for system in systems:
        if found.mode == "record" and found.baseline(system) and not config.option.parity_bench_reason.strip():
            raise pytest.UsageError(f"{system} has a baseline of this machine: say why it changes, with --bench-reason")
    build_missing(config, [check for system in systems for check in found.checks(system)])
    kept = config.pluginmanager.get_plugin("pytest-benchmark")
    if kept is not None:
        # Its own table has no stages and no ratios; what it is asked to compare with is still shown.
        kept.quiet = not (kept.verbose or kept.compare)
        if not kept.json:
            folder = suite_of(config).folder
            folder.mkdir(parents=True, exist_ok=True)
            kept.json = str(folder / JSON)
    if not (config.getoption("benchmark_disable", False) or config.getoption("benchmark_skip", False)):
        found.measurements.selected = selected
        with config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
            found.measurements.make(lambda line: print(f"bench: {line}", file=sys.stderr, flush=True))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Fail a skipped benchmark, because it measured nothing."""
    report: pytest.TestReport = yield
    if item.get_closest_marker(MARK) is not None:
        why = skips.failed(report, item, call, so="it measured nothing")
        if why is not None:
            item.config.stash.setdefault(FAILED, {})[item.name] = (benchmark_of(item), why)
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    selected = config.stash.get(SELECTED, ())
    if not selected or config.option.collectonly or _shared(config):
        return
    found, errors = bench_of(config), _errors(config)
    recorded: list[str] = []
    if found.mode == "record":
        try:
            recorded = found.record_baselines(config.option.parity_bench_reason)
        except BaselineError as error:
            errors["--bench-record"] = str(error)
    if not found.results or errors:
        session.exitstatus = max(session.exitstatus, pytest.ExitCode.TESTS_FAILED)
    partial = found.mode == "quick" or set(selected) != set(found.plan())
    config.stash[RECORD] = summary(found, partial, errors, recorded)
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
        config.stash[BENCH] = Bench(suite_of(config), mode_of(config))
    return config.stash[BENCH]


def mode_of(config: pytest.Config) -> Mode:
    return "quick" if config.option.parity_quick else "record" if config.option.parity_bench_record else "full"


def benchmark_of(item: pytest.Item) -> Benchmark | None:
    """Return the benchmark that a generated test runs; None for any other test."""
    parameters: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    return parameters.get(CASE)


def _errors(config: pytest.Config) -> dict[str, str]:
    """Return the tests that failed without a finding."""
    results = bench_of(config).results
    return {
        name: said
        for name, (one, said) in config.stash.get(FAILED, {}).items()
        if one is None or one not in results or results[one].passed
    }


def _shared(config: pytest.Config) -> bool:
    """Return whether other workers share the machine."""
    return hasattr(config, "workerinput") or config.getoption("dist", "no") != "no"
