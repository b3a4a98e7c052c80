"""The pytest side of the bench: its items, what keeps it from measuring what means nothing, and its record."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from parity.bench import record as records
from parity.bench.baseline import BaselineError
from parity.bench.measurements import Benchmark, Mode
from parity.bench.record import BenchRecord, table
from parity.bench.session import Bench
from parity.bench.timing import REPLAY
from parity.declarations import System
from parity.plugin.items import NotPassedError, SystemItem, failed
from parity.plugin.names import BENCH, ITEMS
from parity.plugin.suite import build_missing, suite_of

SESSION = pytest.StashKey[Bench]()
FAILED = pytest.StashKey[dict[str, tuple[Benchmark, str]]]()
RECORD = pytest.StashKey[BenchRecord]()
TIMED = ("speed", "load")
JSON = "benchmark.json"
ALONE = "the bench needs the machine to itself and pytest-benchmark enabled: leave out -n and --benchmark-disable"


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config.option, "benchmark_disable"):
        raise pytest.UsageError("-m bench needs pytest-benchmark: install it, or coreml-parity with its extra `bench`")
    if config.option.parity_bench_reason and not config.option.parity_bench_record:
        raise pytest.UsageError("--bench-reason is about a baseline that changes: give --bench-record as well")
    if config.option.parity_quick and config.option.parity_bench_record:
        raise pytest.UsageError("--quick measures too little for a baseline: leave it out to record one")
    config.stash.setdefault(ITEMS, []).append(_items)


class BenchmarkItem(SystemItem, pytest.Function):
    """One benchmark. Its name is the benchmark's; `-k` knows its kind too, such as `load`."""

    mark = BENCH

    def __init__(self, *, case: Benchmark, **options: Any) -> None:
        timed = case.kind in TIMED
        super().__init__(callobj=_timed if timed else _judged, **options)
        if timed:
            self.add_marker(pytest.mark.benchmark(timer=REPLAY.now))
        self.case = case
        self.extra_keyword_matches.add(case.kind)


def _timed(request: pytest.FixtureRequest, benchmark: Any) -> None:
    if not benchmark.enabled:
        pytest.fail(ALONE, pytrace=False)
    _judged(request, lambda found, case: REPLAY.play(benchmark, *found.times(case)))


def _judged(request: pytest.FixtureRequest, then: Callable[[Bench, Benchmark], None] = lambda *_: None) -> None:
    config, case = request.config, request.node.case
    if _shared(config):
        pytest.fail(ALONE, pytrace=False)
    if len(suite_of(config).options.numerics) > 1:
        pytest.fail("the bench times one runtime: give --numerics one name", pytrace=False)
    found = bench_of(config)
    result = found.judge(case)
    then(found, case)
    if not result.passed:
        raise NotPassedError(result.explain())


def _items(file: pytest.File, system: System) -> Iterator[pytest.Item]:
    for one in bench_of(file.config).plan():
        if one.system == system.name:
            yield BenchmarkItem.from_parent(file, name=one.test, case=one)


def pytest_collection_finish(session: pytest.Session) -> None:
    config = session.config
    selected = [item.case for item in session.items if isinstance(item, BenchmarkItem)]
    if not selected or config.option.collectonly or _shared(config):
        return
    found = bench_of(config)
    found.measurements.selected = selected
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
        with config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
            found.measurements.make(lambda line: print(f"bench: {line}", file=sys.stderr, flush=True))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Fail a skipped benchmark, because it measured nothing."""
    report: pytest.TestReport = yield
    if isinstance(item, BenchmarkItem):
        why = failed(report, item, call, so="it measured nothing")
        if why is not None:
            item.config.stash.setdefault(FAILED, {})[item.name] = (item.case, why)
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    found = config.stash.get(SESSION, None)
    if found is None or not found.measurements.selected:
        return
    errors = _errors(config, found)
    recorded: list[str] = []
    if found.mode == "record":
        try:
            recorded = found.record_baselines(config.option.parity_bench_reason)
        except BaselineError as error:
            errors["--bench-record"] = str(error)
    if not found.results or errors:
        session.exitstatus = max(session.exitstatus, pytest.ExitCode.TESTS_FAILED)
    partial = found.mode == "quick" or set(found.measurements.selected) != set(found.plan())
    config.stash[RECORD] = found.record(partial, errors, recorded)
    records.save(config.stash[RECORD], suite_of(config).folder)
    found.measurements.close()


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
    if SESSION not in config.stash:
        config.stash[SESSION] = Bench(suite_of(config), mode_of(config))
    return config.stash[SESSION]


def mode_of(config: pytest.Config) -> Mode:
    return "quick" if config.option.parity_quick else "record" if config.option.parity_bench_record else "full"


def _errors(config: pytest.Config, found: Bench) -> dict[str, str]:
    """Return the tests that failed without a finding."""
    failed = config.stash.get(FAILED, {}).items()
    return {name: said for name, (one, said) in failed if one not in found.results or found.results[one].passed}


def _shared(config: pytest.Config) -> bool:
    """Return whether other workers share the machine."""
    return hasattr(config, "workerinput") or config.getoption("dist", "no") != "no"
