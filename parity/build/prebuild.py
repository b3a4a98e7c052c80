"""Builds missing artifacts ahead of the checks, side by side, and says how far it is."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from parity.base.cache import Cache
from parity.base.progress import Progress
from parity.build.artifacts import Built
from parity.plan.systems import systems
from parity.plan.weights import choose, fitted

Needs = tuple[str, str, str]


def build(needs: Sequence[Needs], weights: str, cache: Cache, progress: Progress) -> None:
    """Build each (system, stage, variant). One that fails is left to its check, which then reports why."""
    workers = min(len(needs), os.cpu_count() or 1, 4)
    with ProcessPoolExecutor(workers, get_context("spawn"), _end_with_the_parent) as pool:
        futures = {pool.submit(_build, need, weights, cache.root): need for need in needs}
        progress.begin(", ".join(" ".join(need) for need in needs[:workers]))
        try:
            for future in as_completed(futures):
                failed = " failed" if future.exception() else ""
                progress.step(" ".join(futures[future]) + failed)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _end_with_the_parent() -> None:
    """End a pool's process when its parent was killed; it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent:

        def watch() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()


_benches: dict[tuple[str, str], Built] = {}


def _build(need: Needs, weights: str, root: Path) -> None:
    import torch

    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")  # what upstream packages do with deprecated parts of torch
    name, stage, variant = need
    if (name, weights) not in _benches:
        system = systems()[name]
        cache = Cache(root)
        chosen = choose(system.reference, weights, cache)
        _benches[name, weights] = Built(fitted(system, chosen), chosen, cache)
    built = _benches[name, weights]
    built.get(built.system.stage(stage), built.system.stage(stage).variant(variant))
