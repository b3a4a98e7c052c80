"""The crossing at which a stage goes wrong: of a stage that runs step by step, the first step that does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from parity.declarations import Arrays, Seam, Stage
from parity.run import stepping
from parity.steps import Crossing
from parity.verdict import Blame

SHARE = 0.3
"""The share of the worst step's error from which an earlier step counts as the first."""
FEW = 16
"""How many steps tell how large an output is."""
ROUNDING = 1e-6
"""An error below this is not worth a look."""


@dataclass(frozen=True)
class Failing:
    """One crossing, whole, and the outputs that failed at it. `wrong` says whether any value differs at all."""

    inputs: Arrays
    reference: Arrays
    candidate: Arrays
    outputs: Sequence[str]
    step: int = 0
    steps: int = 0
    wrong: bool = True

    def placed(self, blamed: Blame) -> Blame:
        """Return the blame with the step at which it was found."""
        if not self.steps:
            return blamed
        where = f"from step {self.step} of {self.steps} on"
        return replace(blamed, detail="; ".join(part for part in (where, blamed.detail) if part))


def find(
    stage: Stage,
    golden: Seam,
    cross: Callable[[Arrays], dict[str, np.ndarray]],
    given: Callable[[Arrays], Arrays],
    outputs: Sequence[str],
) -> Failing:
    """Return the crossing to examine, with upstream's inputs, cast by `given` as for the artifact."""
    if not stage.stepped:
        return Failing(golden.inputs, golden.outputs, cross(given(golden.inputs)), outputs)
    named = [name for name in outputs if name in stage.outputs] or list(stage.outputs)
    scales = {name: _rms(np.stack([made.outputs[name] for made in _few(stage, golden)])) for name in named}
    errors = []
    for step, crossing in enumerate(stepping.crossings(stage, golden)):
        slots, inputs = stepping.written(stage, golden, step), given(crossing.inputs)
        candidate = cross(inputs)
        found = [_error(stage, name, inputs, crossing.outputs, candidate, scales[name], slots) for name in named]
        errors.append(max(found))
    worst = max(errors)
    first = next(step for step, error in enumerate(errors) if error >= SHARE * worst)
    crossing = next(crossing for step, crossing in enumerate(stepping.crossings(stage, golden)) if step == first)
    inputs, slots = given(crossing.inputs), stepping.written(stage, golden, first)
    candidate = cross(inputs)
    ranked = sorted(
        named, key=lambda name: -_error(stage, name, inputs, crossing.outputs, candidate, scales[name], slots)
    )
    return Failing(crossing.inputs, crossing.outputs, candidate, ranked, first, len(errors), worst > ROUNDING)


def _few(stage: Stage, golden: Seam) -> list[Crossing]:
    """Return some steps over the whole run, to tell how large an output is."""
    stride = max(1, stepping.count(stage, golden) // FEW)
    return [crossing for step, crossing in enumerate(stepping.crossings(stage, golden)) if step % stride == 0]


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values.astype(np.float64)))))


def _error(
    stage: Stage,
    name: str,
    inputs: Arrays,
    outputs: Arrays,
    candidate: Arrays,
    scale: float,
    slots: Mapping[str, np.ndarray],
) -> float:
    """Return the error of an output at a step, relative to its size over the whole run.

    It is infinite if a value is missing, of another shape or not finite, if a whole number differs, or if a slot that
    should be left alone changed.
    """
    reference = outputs[name]
    if name not in candidate or candidate[name].shape != reference.shape:
        return np.inf
    value = candidate[name]
    if reference.dtype.kind in "iu":
        return 0.0 if np.array_equal(value, reference) else np.inf
    if name in slots and stepping.spoilt(stage, name, inputs[stage.carries[name]], value, slots[name]).size:
        return np.inf
    off = _rms(value.astype(np.float64) - reference)
    return off / scale if np.isfinite(off) and scale else np.inf
