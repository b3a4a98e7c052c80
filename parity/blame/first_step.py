"""The crossing at which a stage goes wrong: of a stage that runs step by step, one near the first that does."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from parity.base.arithmetic import rms
from parity.declarations import Arrays, Seam, Stage
from parity.run import stepping
from parity.verdict import Blame

SHARE = 0.3
"""The share of the worst step's error from which a step is looked into: the search needs an error that stands out."""
BEGINS = 0.01
"""The error from which a step counts as wrong, of an output whose relative L2 no gate bounds."""
GROWTH = 1.1
"""The factor by which a step has to be worse than one before it to count: a remembered crossing holds whole caches."""
ROUNDING = 1e-6
"""An error below this is not worth a look."""


@dataclass(frozen=True, kw_only=True)
class Failing:
    """One crossing, whole.

    Attributes:
        inputs: Upstream's inputs.
        reference: Upstream's outputs.
        candidate: The outputs on the same inputs.
        outputs: The outputs that failed, the worst first.
        step: The number of the step.
        steps: How many steps there are; 0 for a stage that runs once.
        errors: The error of each step.
        begins: The first step that is wrong.
        wrong: Whether any value differs at all.
    """

    inputs: Arrays
    reference: Arrays
    candidate: Arrays
    outputs: Sequence[str]
    step: int = 0
    steps: int = 0
    errors: Sequence[float] = ()
    begins: int = 0
    wrong: bool = True

    @property
    def output(self) -> str:
        """The output that failed worst; an empty text where none is named."""
        return next(iter(self.outputs), "")

    def placed(self, blamed: Blame) -> Blame:
        """Return a blame that says from which step on the stage is wrong, and at which it is wrong most."""
        if not self.steps:
            return blamed
        where, most = f"from step {self.begins} of {self.steps} on", max(self.errors)
        if most > GROWTH * self.errors[self.begins]:
            where += f" (error {self.errors[self.begins]:.2g}), largest at step {self.errors.index(most)}"
            where += f" ({most:.2g})" if math.isfinite(most) else ""
        return replace(blamed, detail="; ".join(part for part in (where, blamed.detail) if part))


def find(
    stage: Stage,
    golden: Seam,
    cross: Callable[[Arrays], dict[str, np.ndarray]],
    given: Callable[[Arrays], Arrays],
    outputs: Sequence[str],
    bounds: Mapping[str, float],
) -> Failing:
    """Return the crossing to look into.

    Args:
        stage: The stage.
        golden: Its recorded crossings.
        cross: Runs the stage on inputs.
        given: Casts upstream's inputs to those that `cross` takes.
        outputs: The outputs that failed.
        bounds: The relative L2 that gates allow, by output: a step with more is wrong.
    """
    if not stage.stepped:
        candidate = cross(given(golden.inputs))
        return Failing(inputs=golden.inputs, reference=golden.outputs, candidate=candidate, outputs=outputs)
    named = [name for name in outputs if name in stage.outputs] or list(stage.outputs)
    sizes = {name: rms(golden.outputs[name].astype(np.float64)) for name in named}
    worst = 0.0
    made: list[dict[str, float]] = []
    found: list[tuple[float, Failing]] = []
    for step, crossing in enumerate(stepping.crossings(stage, golden)):
        inputs, slots = given(crossing.inputs), stepping.written(stage, golden, step)
        candidate = cross(inputs)
        errors = {
            name: _error(stage, name, inputs, crossing.outputs, candidate, sizes[name], slots.get(name))
            for name in named
        }
        made.append(errors)
        error = max(errors.values())
        worst = max(worst, error)
        found = [(known, failing) for known, failing in found if known >= SHARE * worst]
        if error >= SHARE * worst and (not found or error > GROWTH * found[-1][0]):
            failing = Failing(
                inputs=crossing.inputs,
                reference=crossing.outputs,
                candidate=candidate,
                outputs=sorted(named, key=errors.__getitem__, reverse=True),
                step=step,
                steps=stepping.count(stage, golden),
            )
            found.append((error, failing))
    chosen, largest = found[0][1], [max(errors.values()) for errors in made]
    beyond = (
        step
        for step, errors in enumerate(made)
        if any(error > bounds.get(name, BEGINS) for name, error in errors.items())
    )
    begins = next(beyond, chosen.step)
    return replace(chosen, errors=largest, begins=min(begins, chosen.step), wrong=worst > ROUNDING)


def _error(
    stage: Stage,
    name: str,
    inputs: Arrays,
    outputs: Arrays,
    candidate: Arrays,
    size: float,
    slots: np.ndarray | None,
) -> float:
    """Return the error of an output at a step over its size in the whole run; of a cache, in the slots written there.

    Infinite where there is no nearly: where a value is missing, of another shape or not finite, a whole number differs,
    or a slot was not left alone.
    """
    if name not in candidate or candidate[name].shape != outputs[name].shape:
        return math.inf
    value, reference = candidate[name], outputs[name]
    if reference.dtype.kind in "iu":
        return 0.0 if np.array_equal(value, reference) else math.inf
    if slots is not None:
        if stepping.spoilt(stage, name, inputs[stage.carries[name]], value, slots).size:
            return math.inf
        axis = stepping.slots_of(stage)[name]
        value, reference = np.take(value, slots, axis), np.take(reference, slots, axis)
    off = rms(value.astype(np.float64) - reference)
    if not off:
        return 0.0
    return off / size if math.isfinite(off) and size else math.inf
