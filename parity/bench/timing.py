"""Times that can be compared: taken in turns, for a given time, with as little as possible going on beside them."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from parity.base.libraries import threads

T = TypeVar("T")
SHORT, REPEATS = 0.010, 9
"""A run shorter than this many seconds is repeated, at most so often, for one sample."""
THREADS = 1
"""Of torch, for milrun and eager alike: one is the least noisy on machines that are shared. XNNPACK takes all."""


class Clock:
    """The clock of this machine. What runs in one thread of this process is timed without its waits, so that other
    processes on the machine hardly count."""

    def __call__(self) -> float:
        """Return the seconds since some moment."""
        return time.perf_counter()

    def waited(self) -> float:
        """Return those of them for which this thread had to wait for a core."""
        return time.perf_counter() - time.thread_time()


@dataclass(frozen=True)
class Effort:
    """The time to spend on one case of one system.

    `seconds` bounds the rounds after the warm-up; `samples` are taken of each stage even if that takes longer, and no
    more than `most` rounds are. `alternatives` also times the variants that could ship instead.
    """

    seconds: float = 15.0
    samples: int = 5
    most: int = 20
    alternatives: bool = True


@dataclass(frozen=True)
class Timing:
    """The seconds of each round, and the `ratios` to eager PyTorch, each within one round, where it ran beside."""

    seconds: tuple[float, ...]
    ratios: tuple[float, ...] = ()

    @property
    def unit(self) -> str:
        return "× eager" if self.ratios else "ms"

    @property
    def samples(self) -> tuple[float, ...]:
        """Samples to compare between runs: ratios, which a busy machine hardly moves; or else milliseconds."""
        return self.ratios or tuple(1e3 * seconds for seconds in self.seconds)

    @property
    def ratio(self) -> float | None:
        return statistics.median(self.ratios) if self.ratios else None

    @property
    def milliseconds(self) -> float:
        return 1e3 * statistics.median(self.seconds)


def rounds(run: Callable[[int], T], effort: Effort, enough: Callable[[list[T]], bool], clock: Clock) -> list[T]:
    """Return the result of each round: as many as are `enough`, then as many as fit into the time.

    Args:
        run: Makes a round, given its number.
        enough: Tells whether the rounds so far hold samples enough.
    """
    began, found = clock(), [run(0)]
    while len(found) < effort.most:
        spent = clock() - began
        if enough(found) and spent * (1 + 1 / len(found)) > effort.seconds:
            break
        found.append(run(len(found)))
    return found


def in_turns(contenders: Mapping[str, Callable[[], T]], number: int) -> dict[str, T]:
    """Run each contender once. Who begins changes with `number`, so that none always finds the caches of another."""
    names = list(contenders)
    first = number % len(names)
    given = {name: contenders[name]() for name in names[first:] + names[:first]}
    return {name: given[name] for name in names}


def steadied(run: Callable[[], tuple[float, T]]) -> tuple[float, T]:
    """Return the seconds of a run, and its result; of a short run, the median of several."""
    seconds, result = run()
    took = [seconds]
    while sum(took) < SHORT and len(took) < REPEATS:
        took.append(run()[0])
    return statistics.median(took), result


@contextmanager
def undisturbed() -> Iterator[None]:
    """Give torch `THREADS` threads, and collect no garbage, which would hit whoever happens to allocate."""
    collecting = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        with threads(THREADS):
            yield
    finally:
        gc.unfreeze()
        if collecting:
            gc.enable()


class Replay:
    """Hands times that were taken in turns to pytest-benchmark, which by itself measures one thing after the other.

    Its clock advances only by these times: `@pytest.mark.benchmark(timer=REPLAY.now)`.
    """

    def __init__(self) -> None:
        self._now = 0.0

    def now(self) -> float:
        return self._now

    def play(self, benchmark: Any, seconds: Sequence[float], group: str, extra: dict[str, Any]) -> None:
        left = iter(seconds)

        def rewind() -> None:
            self._now = 0.0

        def advance() -> None:
            self._now += next(left, 0.0)

        benchmark.group = group
        benchmark.extra_info.update(extra)
        benchmark.pedantic(advance, setup=rewind, rounds=len(seconds), iterations=1)


REPLAY = Replay()
