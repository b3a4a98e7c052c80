"""Benchmarks of a system: its stages and its chain on each case; load, size and placement of artifacts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from parity.declarations import Case, System
from parity.plan.checks import CHAIN, Deployed

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


def benchmarks(system: System, cases: Iterable[Case], ships: Deployed) -> Iterator[Benchmark]:
    """Yield every benchmark of a system, on these cases. A program has one size, that of all its methods."""
    yield from speeds(system, cases, ships)
    yield from _each("overall", system, ships)
    yield Benchmark("overall", system.name, CHAIN, ships.name)
    yield from _each("load", system, ships)
    if not ships.whole:
        yield from _each("size", system, ships)
    yield Benchmark("size", system.name, BUNDLE, ships.name)
    yield from _each("placement", system, ships)
    yield Benchmark("complete", system.name, ALL, ships.name)


def speeds(system: System, cases: Iterable[Case], ships: Deployed) -> Iterator[Benchmark]:
    for case in cases:
        for stage in system.stages:
            yield Benchmark("speed", system.name, stage.name, ships.variants[stage.name].name, case.name)
        yield Benchmark("speed", system.name, CHAIN, ships.name, case.name)


def _each(kind: Kind, system: System, ships: Deployed) -> Iterator[Benchmark]:
    for stage in system.stages:
        yield Benchmark(kind, system.name, stage.name, ships.variants[stage.name].name)
