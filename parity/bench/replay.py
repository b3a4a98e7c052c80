"""Hands samples that were taken in turns to pytest-benchmark, which by itself measures one thing after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class Replay:
    """Clock that advances only by replayed times: `@pytest.mark.benchmark(timer=REPLAY.now)`."""

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
