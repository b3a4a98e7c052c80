"""Processes that build artifacts and measure checks side by side, ahead of the checks that need them.

All that they make goes into the cache, where the checks find it.
"""

from __future__ import annotations

import ctypes
import logging
import multiprocessing
import os
import threading
import warnings
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager, nullcontext, suppress
from multiprocessing import get_context
from multiprocessing.process import BaseProcess

from parity.base import paths
from parity.base.paths import Project
from parity.base.progress import Progress
from parity.record.suite import Options, Suite
from parity.verdict import Check

_Job = tuple[str, str, str] | Check
"""An artifact to build, as (system, stage, variant), or a check to measure."""
FEWEST = 32
"""The number of unmeasured checks from which on it pays to start processes for them: each imports torch first."""
_MOST = 4
THREADS = "OMP_NUM_THREADS"
COPIES = 4
"""Models that a process may hold: to record with, to cut modules from, as it is converted, as an artifact."""
_FIRST = ("module", "exercised", "chained", "stretched", "carried", "probed", "forced")
"""The order of checks: those that need no artifact while some are built, then long ones, then short ones."""


def prepare(suite: Suite, checks: Sequence[Check], measure: bool = False) -> frozenset[str]:
    """Build the artifacts that checks need, and measure the checks as well where that pays.

    What fails here is left to its check, which then reports why.

    Args:
        suite: The suite of the run.
        checks: The checks.
        measure: True to measure checks too, if many of them have no evidence yet.

    Returns:
        The ids of the checks that were measured.
    """
    needs = suite.wanted(checks)
    todo = suite.unmeasured(checks) if measure and len(checks) >= FEWEST else []
    todo = sorted(todo, key=lambda check: _FIRST.index(check.mode)) if len(todo) >= FEWEST else []
    if not needs and not todo:
        return frozenset()
    judged = {name for name, _, _ in needs} | {check.system for check in todo}
    # At its largest sizes a stage takes minutes and gigabytes: such a check has all cores and the memory to itself.
    alone = [check for check in todo if check.mode == "stretched"]
    jobs: list[_Job] = [*needs, *(check for check in todo if check not in alone)]
    count = min(len(jobs), os.cpu_count() or 1, _MOST, _room(suite, judged))
    doing = "building and measuring" if todo else "building artifacts"
    with Progress(len(needs) + len(todo), doing, every=10) as progress:
        return frozenset([*_done(suite, jobs, count, progress), *_done(suite, alone, 1, progress)])


def _done(suite: Suite, jobs: Sequence[_Job], count: int, progress: Progress) -> Iterator[str]:
    """Do jobs in so many processes, and yield the ids of the checks that were measured."""
    if not jobs:
        return
    with (
        _one_thread_each() if count > 1 else nullcontext(),
        ProcessPoolExecutor(count, get_context("spawn"), _begin, (suite.project, suite.options, count)) as pool,
    ):
        names = {pool.submit(_do, job): job.id if isinstance(job, Check) else " ".join(job) for job in jobs}
        try:
            for future in as_completed(names):
                failed = " failed" if future.exception() else ""
                progress.step(names[future] + failed)
                if not failed and future.result():
                    yield names[future]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let processes that begin meanwhile compute in one thread: memory allowing, there is one of them for each core."""
    before = os.environ.get(THREADS)
    os.environ[THREADS] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[THREADS]
        else:
            os.environ[THREADS] = before


def _room(suite: Suite, names: Collection[str]) -> int:
    """Return how many processes the machine's memory has room for; only heavy systems have models that count."""
    largest = 0
    for name, system in suite.systems().items():
        if name in names and system.reference.heavy:
            with suppress(Exception):  # a checkpoint that can't be had: its checks report why
                largest = max(largest, suite.weights(system).checkpoint().stat().st_size)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, memory // (COPIES * largest)) if largest else _MOST


_suites: list[Suite] = []
_last: list[tuple[str, str]] = []
"""The system and the mode of the check that this process measured last."""


def _begin(project: Project, options: Options, count: int) -> None:
    """Set up a process of a pool of so many."""
    import torch

    _end_with_the_parent()
    torch.set_num_threads(1 if count > 1 else os.cpu_count() or 1)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")  # of upstream packages; the check itself runs in the main process
    paths.use(project)
    _suites.append(Suite(options, "workers", project))


def _end_with_the_parent() -> None:
    """End a pool's process when its parent was killed; it would wait for work for ever."""

    def watch(parent: BaseProcess) -> None:
        parent.join()
        os._exit(1)

    if parent := multiprocessing.parent_process():
        threading.Thread(target=watch, args=[parent], daemon=True).start()


def _do(job: _Job) -> bool:
    """Do a job; return whether it measured a check."""
    (suite,) = _suites
    measured = False
    if isinstance(job, Check):
        if _last != [(job.system, job.mode)]:
            # Only the first checks of a system record what git does not keep.
            suite.forget_recorders()
            _last[:] = [(job.system, job.mode)]
        verdict = suite.workbench(job).run(job)
        measured = bool(verdict.evidence) and not verdict.reused
    else:
        name, stage_name, variant = job
        bench = suite.bench(name, suite.options.numerics[0])
        stage = bench.system.stage(stage_name)
        bench.artifacts.get(stage, stage.variant(variant))
    # glibc keeps memory that is free for its process, and that is up to half of what one holds.
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)
    return measured
