"""What is measured of a system: its stages and its chain on each case, and what each shipping artifact takes to load,
weighs, and where it runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from parity.declarations import Case, System
from parity.plan.checks import CHAIN, SHIPS

Kind = Literal["speed", "overall", "load", "size", "placement", "complete"]
BUNDLE, ALL = "bundle", "all"


@dataclass(frozen=True)
class Subject:
    """One benchmark. "overall" is the speed over all cases of a run, "complete" that nothing is left out. `stage` may
    be the chain, or all that ships."""

    kind: Kind
    system: str
    stage: str
    variant: str
    case: str = ""

    @property
    def id(self) -> str:
        """Its name in a baseline and on the command line. The variant is part of it: another one is another thing."""
        return "-".join(part for part in (self.system, self.stage, self.variant, self.case) if part)

    @property
    def test(self) -> str:
        """Its name among the tests, where a speed, a load and a size of one artifact differ."""
        return self.id if self.kind == "speed" else f"{self.kind}-{self.id}"


def speeds(system: System, cases: Iterable[Case]) -> Iterator[Subject]:
    for case in cases:
        for stage in system.stages:
            yield Subject("speed", system.name, stage.name, stage.shipping.name, case.name)
        yield Subject("speed", system.name, CHAIN, SHIPS, case.name)


def overall(system: System) -> Iterator[Subject]:
    yield from _shipping("overall", system)
    yield Subject("overall", system.name, CHAIN, SHIPS)


def loads(system: System) -> Iterator[Subject]:
    return _shipping("load", system)


def sizes(system: System) -> Iterator[Subject]:
    yield from _shipping("size", system)
    yield Subject("size", system.name, BUNDLE, SHIPS)


def placements(system: System) -> Iterator[Subject]:
    return _shipping("placement", system)


def complete(system: System) -> Iterator[Subject]:
    yield Subject("complete", system.name, ALL, SHIPS)


def _shipping(kind: Kind, system: System) -> Iterator[Subject]:
    for stage in system.stages:
        yield Subject(kind, system.name, stage.name, stage.shipping.name)
