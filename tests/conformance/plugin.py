"""The pytest plugin that runs coremltools' suites on milrun; loaded with ``-p tests.conformance.plugin``.

It records a result per test in the file given by ``--conformance-results``. With ``--conformance-bare`` it leaves
coremltools alone, and only records.
"""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance import compare, entries, judge, records, watch
from tests.conformance.selection import deselected_because, keep_parameters, readable, run_coroutine, seed

_PLUGIN = pytest.StashKey["Conformance"]()
_COLLECT_GARBAGE_EVERY = 50


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("conformance")
    group.addoption("--conformance-results", type=Path, help="append a line of JSON per test to this file")
    group.addoption("--conformance-select", type=Path, help="run only the tests whose ids are the lines of this file")
    group.addoption("--conformance-ids", type=Path, help="write the ids of the collected tests to this file")
    group.addoption("--conformance-errors", type=Path, help="write what could not be collected to this file")
    group.addoption("--conformance-current", type=Path, help="keep the id of the running test in this file")
    group.addoption("--conformance-bounds", type=Path, default=entries.BOUNDS_FILE, help="the wider bounds")
    group.addoption("--conformance-bare", action="store_true", help="do not install milrun")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Before any conftest of the suites, since one imports what isn't there."""
    if not early_config.known_args_namespace.conformance_bare:
        from tests.conformance import environment

        environment.prepare()


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Conformance(config), "conformance")


@pytest.hookimpl(tryfirst=True)
def pytest_make_parametrize_id(val: object, argname: str) -> str:
    return f"{argname}={readable(val)}"


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    keep_parameters(metafunc)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    return run_coroutine(pyfuncitem)


@pytest.hookimpl(tryfirst=True)
def pytest_collectstart(collector: pytest.Collector) -> None:
    seed(collector.nodeid)


class Conformance:
    """The hooks that follow each test."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.results: Path | None = config.getoption("conformance_results")
        self.current: Path | None = config.getoption("conformance_current")
        self.bare: bool = config.getoption("conformance_bare")
        self.wider = entries.load(config.getoption("conformance_bounds"), "wider")
        self.parent = os.getppid()
        self.temporary = Path(tempfile.mkdtemp(prefix="conformance-"))
        self.ran = 0
        self.xfail_reason = ""
        self.reports: dict[str, judge.Outcome] = {}
        self.real_xfail = pytest.xfail
        pytest.xfail = self._note_xfail  # type: ignore[assignment]

    def _note_xfail(self, reason: str = "") -> None:
        """Many tests give up for faults of Apple's runtime: they go on here, and may fail without blame."""
        self.xfail_reason = reason or "no reason given"

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        kept = [item for item in items if not deselected_because(item)]
        if ids := self.config.getoption("conformance_ids"):
            ids.write_text("".join(item.nodeid + "\n" for item in kept))
        if selection := self.config.getoption("conformance_select"):
            chosen = set(selection.read_text().splitlines())
            kept = [item for item in kept if item.nodeid in chosen]
        chosen_items = set(kept)
        self.config.hook.pytest_deselected(items=[item for item in items if item not in chosen_items])
        items[:] = kept

    def pytest_collection_finish(self) -> None:
        """The converter collects garbage at every call, and must not go through all the collected tests each time."""
        gc.collect()
        gc.freeze()
        if not self.bare:
            from tests.conformance import environment

            environment.forget_missing_packages()

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        errors: Path | None = self.config.getoption("conformance_errors")
        if errors is None or report.passed:
            return
        text = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext.strip()
        with errors.open("a") as file:
            file.write(f"{report.nodeid}\t{text.splitlines()[-1] if text else report.outcome}\n")

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        if os.getppid() != self.parent:
            pytest.exit("the runner is gone", returncode=3)
        if self.current:
            self.current.write_text(item.nodeid)
        seed(item.nodeid)
        self.xfail_reason = ""
        self.reports = {}
        seen = watch.start_test()
        meter = compare.start_test(entry for entry in self.wider if entry.matches(item.nodeid))
        if not self.bare:
            from tests.conformance import environment

            environment.answer_late_checks()
        started = time.perf_counter()
        try:
            return (yield)
        finally:
            seconds = round(time.perf_counter() - started, 3)
            record = judge.judge(item.nodeid, self.reports, seen, meter, self.xfail_reason, seconds)
            if self.results and record is not None:
                records.append(self.results, record)
            if self.current:
                self.current.write_text("")
            self.ran += 1
            if self.ran % _COLLECT_GARBAGE_EVERY == 0:
                gc.collect()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """What a test leaves among temporary files is deleted after it; models add up to gigabytes."""
        before = tempfile.tempdir
        folder = tempfile.tempdir = tempfile.mkdtemp(dir=self.temporary)
        try:
            return (yield)
        finally:
            tempfile.tempdir = before
            shutil.rmtree(folder, ignore_errors=True)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
        report: pytest.TestReport = yield
        self.reports[report.when] = judge.outcome_of(report, call)
        return report

    def pytest_unconfigure(self) -> None:
        pytest.xfail = self.real_xfail
        shutil.rmtree(self.temporary, ignore_errors=True)
