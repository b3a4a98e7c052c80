"""Times that can be compared: warmed up, taken in turns, with as little as possible going on beside them."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from parity.base.torch_threads import threads

T = TypeVar("T")
Clock = Callable[[], float]
SHORT, REPEATS = 0.010, 9
"""Seconds, and how often at most something shorter is run for one sample."""


@dataclass(frozen=True)
class Effort:
    """Rounds after the warm-up: `fewest`, and more while they fit into `seconds`, up to `most`."""

    warm_up: int = 1
    fewest: int = 5
    most: int = 20
    seconds: float = 15.0

    def __post_init__(self) -> None:
        if self.warm_up < 1 or self.fewest < 1 or self.most < self.fewest:
            raise ValueError(f"{self} measures nothing that could be compared: warm up once, and then measure")


@dataclass(frozen=True)
class Timing:
    """What one thing took in each round, in seconds, and what its peer took in the same round, if it has one."""

    seconds: tuple[float, ...]
    peer: tuple[float, ...] = ()

    @property
    def unit(self) -> str:
        return "× eager" if self.peer else "ms"

    @property
    def samples(self) -> tuple[float, ...]:
        """What is compared from run to run: ratios of one round where there is a peer, for another machine or a busy
        one moves both; else milliseconds."""
        if not self.peer:
            return tuple(1e3 * seconds for seconds in self.seconds)
        return tuple(own / other for own, other in zip(self.seconds, self.peer, strict=True))

    @property
    def ratio(self) -> float | None:
        return statistics.median(self.samples) if self.peer else None

    @property
    def milliseconds(self) -> float:
        return 1e3 * statistics.median(self.seconds)

    @property
    def p95_milliseconds(self) -> float:
        return 1e3 * p95(self.seconds)


def p95(samples: Sequence[float]) -> float:
    return float(np.percentile(samples, 95))


def rounds(run: Callable[[int], T], effort: Effort, clock: Clock = time.perf_counter) -> list[T]:
    """What each round gave. A round is given its number; those of the warm-up are forgotten."""
    for number in range(effort.warm_up):
        run(number)
    began, found = clock(), [run(0)]
    while len(found) < effort.most:
        spent = clock() - began
        if len(found) >= effort.fewest and spent * (1 + 1 / len(found)) > effort.seconds:
            break
        found.append(run(len(found)))
    return found


def in_turns(contenders: Sequence[Callable[[], T]], number: int) -> list[T]:
    """What each contender gave, in their order. Who begins changes from round to round, so that no one always finds
    the machine as the same other left it."""
    order = [(number + offset) % len(contenders) for offset in range(len(contenders))]
    given = {index: contenders[index]() for index in order}
    return [given[index] for index in range(len(contenders))]


def steadied(run: Callable[[], float]) -> float:
    """What a run took; of a short one the median of several, for the first pays for what was last in the caches."""
    took = [run()]
    while sum(took) < SHORT and len(took) < REPEATS:
        took.append(run())
    return statistics.median(took)


@contextmanager
def undisturbed(count: int) -> Iterator[None]:
    """torch on so many threads, and no garbage collection, which would hit whoever happens to allocate."""
    collecting = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        with threads(count):
            yield
    finally:
        gc.unfreeze()
        if collecting:
            gc.enable()
