"""The crossing at which a stage goes wrong: of a stage that runs step by step, one near the first that does.

In a stage with buckets, it is filled up as its artifact had it, and padding that leaks is a fault of its own.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from torch import nn

from parity.base.arithmetic import rms
from parity.blame.likeness import likeness, relative_l2
from parity.build.convert import call
from parity.declarations import Arrays, Seam, Stage
from parity.run import stepping
from parity.run.runtime import cut, filled, fitting, valid
from parity.verdict import Blame

LOG = logging.getLogger(__name__)
SHARE = 0.3
"""The share of the worst step's error from which a step is looked into: the search needs an error that stands out."""
BEGINS = 0.01
"""The error from which a step counts as wrong, of an output whose relative L2 no gate bounds."""
GROWTH = 1.1
"""The factor by which a step has to be worse than one before it to count: a remembered crossing holds whole caches."""
ROUNDING = 1e-6
"""An error below this is not worth a look."""
LEAKS = 0.5
"""The part of an artifact's error from which on the padding of the module alone explains it."""


@dataclass(frozen=True, kw_only=True)
class Failing:
    """One crossing, whole.

    Attributes:
        inputs: Upstream's inputs.
        reference: Upstream's outputs.
        candidate: The outputs on the same inputs.
        outputs: The outputs that failed, the worst first.
        step: The number of the step.
        errors: The error of each step; empty for a stage that runs once.
        begins: The first step that is wrong.
        wrong: Whether any value differs at all.
    """

    inputs: Arrays
    reference: Arrays
    candidate: Arrays
    outputs: Sequence[str]
    step: int = 0
    errors: Sequence[float] = ()
    begins: int = 0
    wrong: bool = True

    @property
    def output(self) -> str:
        """The output that failed worst."""
        return self.outputs[0]

    @cached_property
    def looks(self) -> str:
        """The likeness of that output's error; an empty text where there is none to look at."""
        if self.output not in self.reference or self.output not in self.candidate:
            return ""
        both = self.reference[self.output], self.candidate[self.output]
        return str(likeness(*both)) if all(value.size and value.dtype.kind in "fiub" for value in both) else ""

    def searched(self, stage: str, search: Callable[[], Blame]) -> Blame:
        """Return what a search finds for that output.

        The failure of the check has to be reported even where the search itself fails: then the error is logged with
        its traceback and named in the blame.
        """
        try:
            return search()
        except Exception as error:
            return unable(stage, self.output, error, self.looks)

    def placed(self, blamed: Blame) -> Blame:
        """Return a blame that says from which step on the stage is wrong, and at which it is wrong most."""
        if not self.errors:
            return blamed
        where, most = f"from step {self.begins} of {len(self.errors)} on", max(self.errors)
        if most > GROWTH * self.errors[self.begins]:
            where += f" (error {self.errors[self.begins]:.2g}), largest at step {self.errors.index(most)}"
            where += f" ({most:.2g})" if math.isfinite(most) else ""
        return replace(blamed, detail="; ".join(filter(None, (where, blamed.detail))))


def unable(stage: str, output: str, error: Exception, looks_like: str = "") -> Blame:
    """Log an error of the search itself, and return a blame that names it."""
    LOG.error("The search for the cause of the failure of %s %s failed itself", stage, output, exc_info=error)
    reason = str(error).partition("\n")[0]
    said = f"blame itself failed: {type(error).__name__}" + (f": {reason}" if reason else "")
    return Blame(stage, output, looks_like or "unknown", detail=said)


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
    found: list[tuple[float, Failing]] = []
    largest: list[float] = []
    beyond: list[int] = []
    for step, crossing in enumerate(stepping.crossings(stage, golden)):
        inputs, slots = given(crossing.inputs), stepping.written(stage, golden, step)
        candidate = cross(inputs)
        errors = {
            name: _error(stage, name, inputs, crossing.outputs[name], candidate.get(name), slots.get(name), sizes[name])
            for name in named
        }
        if any(error > bounds.get(name, BEGINS) for name, error in errors.items()):
            beyond.append(step)
        largest.append(max(errors.values()))
        least = SHARE * max(largest)
        found = [(known, failing) for known, failing in found if known >= least]
        if largest[-1] >= least and (not found or largest[-1] > GROWTH * found[-1][0]):
            failing = Failing(
                inputs=crossing.inputs,
                reference=crossing.outputs,
                candidate=candidate,
                outputs=sorted(named, key=errors.__getitem__, reverse=True),
                step=step,
            )
            found.append((largest[-1], failing))
    chosen = found[0][1]
    return replace(chosen, errors=largest, begins=min([chosen.step, *beyond]), wrong=max(largest) > ROUNDING)


def _error(
    stage: Stage,
    name: str,
    inputs: Arrays,
    reference: np.ndarray,
    value: np.ndarray | None,
    slots: np.ndarray | None,
    size: float,
) -> float:
    """Return the error of an output at a step over its size in the whole run; of a cache, in the slots written there.

    Infinite where a value is missing, of another shape or not finite, where a whole number differs, or where a slot was
    not left alone.
    """
    if value is None or value.shape != reference.shape:
        return math.inf
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


def leaking(stage: Stage, module: nn.Module, found: Failing) -> Blame | None:
    """Return a blame if a stage's module itself gives other values for an input with padding than without it.

    `found` is the failing crossing, at the length that upstream has it.
    """
    bucket, length = fitting(stage, found.inputs).bucket, valid(stage, found.inputs)
    if bucket is None or bucket == length:
        return None
    alone = call(module, stage, found.inputs)
    padded = cut(stage, call(module, stage, filled(stage, found.inputs, bucket)), bucket, length)
    for name in found.outputs:
        moved, error = relative_l2(alone[name], padded[name]), relative_l2(found.reference[name], found.candidate[name])
        if moved >= LEAKS * error:
            said = (
                f"{length} in the bucket of {bucket}: the traceable module gives other values with padding than "
                f"without it (relative L2 {moved:.2g}); mask what is not valid"
            )
            return Blame(stage.name, name, "padding leaks", fault="module", detail=said)
    return None


def within(
    stage: Stage, module: nn.Module, found: Failing, execute: Callable[[Stage, Arrays], Arrays]
) -> tuple[Stage, Failing]:
    """Return the stage of the bucket, and the crossing in its size.

    Args:
        stage: The stage, with its buckets.
        module: Its traceable module, which tells what is behind the valid part.
        found: The failing crossing, at the length that upstream has it.
        execute: Runs the artifact of the stage of a bucket.
    """
    one = fitting(stage, found.inputs)
    assert one.bucket is not None
    inputs = filled(stage, found.inputs, one.bucket)
    reference = {name: value.copy() for name, value in call(module, stage, inputs).items()}
    for name, value in found.reference.items():
        reference[name][tuple(map(slice, np.shape(value)))] = value
    return one, replace(found, inputs=inputs, reference=reference, candidate=execute(one, inputs))
