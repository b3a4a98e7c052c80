"""Benchmarks of a system: its stages and its chain on each case; load, size and placement of artifacts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from parity.declarations import Case, System
from parity.plan.checks import CHAIN, SHIPS

Kind = Literal["speed", "overall", "load", "size", "placement", "complete"]
BUNDLE, ALL = "bundle", "all"


@dataclass(frozen=True)
class Benchmark:
    """One thing to measure and judge.

    "overall" is the speed over all cases of a run, "complete" that nothing is left out of budgets and baseline. `stage`
    may be the chain, the bundle of all that ships, or all of the system.
    """

    kind: Kind
    system: str
    stage: str
    variant: str
    case: str = ""

    @property
    def id(self) -> str:
        """The name in a baseline. The variant is part of it: the times of another one are not comparable."""
        return "-".join(part for part in (self.system, self.stage, self.variant, self.case) if part)

    @property
    def test(self) -> str:
        """The name among the tests, where a speed, a load and a size of one artifact differ."""
        return self.id if self.kind == "speed" else f"{self.kind}-{self.id}"


def benchmarks(system: System, cases: Iterable[Case]) -> Iterator[Benchmark]:
    """Yield every benchmark of a system, on these cases."""
    yield from speeds(system, cases)
    yield from _shipping("overall", system)
    yield Benchmark("overall", system.name, CHAIN, SHIPS)
    yield from _shipping("load", system)
    yield from _shipping("size", system)
    yield Benchmark("size", system.name, BUNDLE, SHIPS)
    yield from _shipping("placement", system)
    yield Benchmark("complete", system.name, ALL, SHIPS)


def speeds(system: System, cases: Iterable[Case]) -> Iterator[Benchmark]:
    for case in cases:
        for stage in system.stages:
            yield Benchmark("speed", system.name, stage.name, stage.shipping.name, case.name)
        yield Benchmark("speed", system.name, CHAIN, SHIPS, case.name)


def _shipping(kind: Kind, system: System) -> Iterator[Benchmark]:
    for stage in system.stages:
        yield Benchmark(kind, system.name, stage.name, stage.shipping.name)
