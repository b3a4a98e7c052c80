"""Truths for PocketTTS: the first steps alone, and those of a host that allocates its caches as upstream does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from parity import steps
from parity.declarations import Case, Golden, Seam, Stage
from parity.judge.workbench import Workbench
from parity.run import stepping

FIRST = 7
"""Steps of each recording that are walked: a ring of five frames is full before."""


@dataclass(frozen=True)
class First:
    """The goldens of the first steps alone, to be quick."""

    bench: Workbench

    def load(self, case: Case) -> Golden:
        golden = self.bench.goldens.load(case)
        seams = (self.told(stage, golden[stage.name]) for stage in self.bench.system.stages)
        return Golden(self.bench.system.name, case.name, tuple(seams))

    def told(self, stage: Stage, golden: Seam) -> Seam:
        first = islice(stepping.crossings(stage, golden), FIRST)
        return steps.seam(stage.name, first, stage.carries, stepping.slots_of(stage))

    def identity(self, case: Case) -> str:
        return "the first steps"


class Unwritten(First):
    """The goldens of a host that allocates its caches as upstream does: what was not written yet is NaN."""

    def told(self, stage: Stage, golden: Seam) -> Seam:
        seam = super().told(stage, golden)
        return Seam(seam.stage, {**seam.inputs, **dict(self.spoilt(stage, seam))}, seam.outputs)

    def spoilt(self, stage: Stage, seam: Seam) -> Any:
        for name, axis in stepping.slots_of(stage).items():
            source = stage.carries[name]
            cache, end = seam.inputs[source].copy(), int(seam.inputs[source.replace("cache", "position")].item())
            np.moveaxis(cache, axis, 0)[end:] = np.nan
            yield source, cache

    def identity(self, case: Case) -> str:
        return "NaN where nothing was written"


def first(bench: Workbench) -> Workbench:
    return replace(bench, goldens=First(bench))


def unwritten(bench: Workbench) -> Workbench:
    return replace(bench, goldens=Unwritten(bench))
