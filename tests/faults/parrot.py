"""A runtime without fault: with it, only the glue can be wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from itertools import repeat
from typing import Any, TypeVar

import numpy as np

from parity.declarations import Arrays, Seam, Stage, Variant
from parity.judge.workbench import Workbench
from parity.run import stepping
from parity.run.runtime import Session

Kind = TypeVar("Kind", bound=Workbench)


@dataclass
class Spoken:
    """What a faultless runtime has loaded: it gives what upstream gave, run after run."""

    outputs: Iterator[Arrays]
    load_seconds: float = 0.0
    run_seconds: float = 0.0

    def run(self, inputs: Arrays, state: object = None) -> dict[str, np.ndarray]:
        return dict(next(self.outputs))

    def make_state(self) -> Any:
        raise NotImplementedError("no stage of it has states")

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class Parrot(Workbench):
    """Every stage gives what upstream gave."""

    case: str = "hello"

    def session(self, stage: Stage, variant: Variant) -> Session:
        golden = self.goldens.load(self.system.reference.case(self.case))[stage.name]
        if not stage.stepped:
            return Spoken(repeat(golden.outputs))
        return Spoken(_again_and_again(stage, golden))


def _again_and_again(stage: Stage, golden: Seam) -> Iterator[Arrays]:
    """A chain may run more than once."""
    while True:
        yield from (crossing.outputs for crossing in stepping.crossings(stage, golden))


def parrot(clean: Workbench, glue: Any, case: str) -> Parrot:
    """Return the workbench for a chained check, with this glue between stages that are beyond doubt."""
    return recast(clean, Parrot, system=replace(clean.system, chain=glue), case=case)


def recast(clean: Workbench, kind: type[Kind], **changed: Any) -> Kind:
    """Return a workbench as another kind of it."""
    parts = {one.name: getattr(clean, one.name) for one in fields(clean) if one.init}
    return kind(**{**parts, **changed})
