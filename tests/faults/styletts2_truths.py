"""StyleTTS2 in buckets that barely hold the shortest case: a mutant of a stage is then converted and run in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from parity.declarations import Case, Dim, Golden, Seam, Stage, Tensor
from parity.judge.workbench import Goldens, Workbench
from tests.faults.styletts2_mutants import Sourced

NOISE = "source_noise"
BUCKETS: Mapping[str, tuple[int, ...]] = {"tokens": (8, 16), "frames": (24, 48)}


def small(bench: Workbench) -> Workbench:
    """Judge by the recorded truth, in small buckets."""
    system = bench.system
    return replace(bench, system=replace(system, stages=_small(system.stages), inner=_small(system.inner)))


def _small(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    return tuple(
        replace(
            stage, inputs=_shrunk(stage.inputs), outputs=_shrunk(stage.outputs), trace_at=_traced(stage), common=None
        )
        for stage in stages
    )


def _traced(stage: Stage) -> dict[str, int]:
    return {name: BUCKETS[name][0] for name in stage.trace_at}


def _shrunk(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    def shrunk(size: int | Dim) -> int | Dim:
        if not isinstance(size, Dim):
            return size
        buckets = BUCKETS[size.name]
        return replace(size, high=buckets[-1], buckets=buckets)

    return {name: replace(tensor, shape=tuple(map(shrunk, tensor.shape))) for name, tensor in tensors.items()}


@dataclass(frozen=True)
class OnItsSource:
    """Goldens of the decoder behind its harmonic source, as upstream's recording of both has them."""

    goldens: Goldens

    def load(self, case: Case) -> Golden:
        golden = self.goldens.load(case)
        source = golden["harmonic_source"].outputs["source"]
        return replace(golden, seams=tuple(_sourced(seam, source) for seam in golden.seams))

    def identity(self, case: Case) -> str:
        return f"{self.goldens.identity(case)}, on its source"


def _sourced(seam: Seam, source: np.ndarray) -> Seam:
    if seam.stage != "decoder":
        return seam
    given = {name: value for name, value in seam.inputs.items() if name != NOISE}
    return replace(seam, inputs={**given, "source": source})


def sourced(bench: Workbench) -> Workbench:
    """Judge the decoder without its harmonic source, whose phase no half precision holds."""
    bench = small(bench)
    system = bench.system
    source = system.stage("harmonic_source").outputs["source"]

    def apart(stage: Stage) -> Stage:
        given = {name: tensor for name, tensor in stage.inputs.items() if name != NOISE}
        return replace(stage, module=Sourced, inputs={**given, "source": source})

    stages = tuple(apart(stage) if stage.name == "decoder" else stage for stage in system.stages)
    return replace(bench, system=replace(system, stages=stages, inner=()), goldens=OnItsSource(bench.goldens))
