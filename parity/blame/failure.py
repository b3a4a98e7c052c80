"""A failure to look into: the crossing at which a stage goes wrong, of a stage with steps one near the first wrong one.

In a stage with buckets, it is filled up as its artifact had it, and padding that leaks is a fault of its own.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Any

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
"""The factor over the first wrong step's error from which the largest is told as well."""
ROUNDING = 1e-6
"""An error below this is not worth a look."""
LEAKS = 0.5
"""The part of an artifact's error from which on the padding of the module alone explains it."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One crossing of a stage, whole.

    Attributes:
        stage: The stage.
        inputs: Upstream's inputs.
        reference: Upstream's outputs.
        candidate: The outputs on the same inputs.
        outputs: The outputs that failed, the worst first.
        step: The number of the step.
        errors: The error of each step; empty for a stage that runs once.
        begins: The first step that is wrong.
    """

    stage: Stage
    inputs: Arrays
    reference: Arrays
    candidate: Arrays
    outputs: Sequence[str]
    step: int = 0
    errors: Sequence[float] = ()
    begins: int = 0

    @property
    def output(self) -> str:
        """The output that failed worst."""
        return self.outputs[0]

    @property
    def wrong(self) -> bool:
        """Return whether any value differs at all."""
        return not self.errors or max(self.errors) > ROUNDING

    @cached_property
    def error(self) -> float:
        """The relative L2 of that output."""
        return relative_l2(self.reference[self.output], self.candidate[self.output])

    @cached_property
    def looks(self) -> str:
        """The likeness of that output's error; an empty text where there is none to look at."""
        if self.output not in self.reference or self.output not in self.candidate:
            return ""
        both = self.reference[self.output], self.candidate[self.output]
        return str(likeness(*both)) if all(value.size and value.dtype.kind in "fiub" for value in both) else ""

    def blame(self, looks_like: str = "", **known: Any) -> Blame:
        """Return a blame of that output, which looks as its error does unless it is known better."""
        return Blame(self.stage.name, self.output, looks_like or self.looks or "unknown", **known)

    def searched(self, search: Callable[[], Blame]) -> Blame:
        """Return what a search finds, with the step from which on the stage is wrong, and that with the largest error.

        The failure of the check has to be reported even where the search itself fails: then the error is logged with
        its traceback and named in the blame.
        """
        try:
            found = search()
        except Exception as error:
            found = self.blame(detail=unable(self.stage.name, self.output, error).detail)
        if not self.errors:
            return found
        where, most = f"from step {self.begins} of {len(self.errors)} on", max(self.errors)
        if most > GROWTH * self.errors[self.begins]:
            where += f" (error {self.errors[self.begins]:.2g}), largest at step {self.errors.index(most)}"
            where += f" ({most:.2g})" if math.isfinite(most) else ""
        return replace(found, detail="; ".join(filter(None, (where, found.detail))))


def unable(stage: str, output: str, error: Exception) -> Blame:
    """Log an error of the search itself, and return a blame that names it."""
    LOG.error("The search for the cause of the failure of %s %s failed itself", stage, output, exc_info=error)
    reason = str(error).partition("\n")[0]
    said = f"blame itself failed: {type(error).__name__}" + (f": {reason}" if reason else "")
    return Blame(stage, output, "unknown", detail=said)


def find(
    stage: Stage,
    golden: Seam,
    cross: Callable[[Arrays], dict[str, np.ndarray]],
    given: Callable[[Arrays], Arrays],
    outputs: Sequence[str],
    bounds: Mapping[str, float],
) -> Failure:
    """Return the crossing to look into: the first whose error stands out.

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
        return Failure(
            stage=stage, inputs=golden.inputs, reference=golden.outputs, candidate=candidate, outputs=outputs
        )
    named = [name for name in outputs if name in stage.outputs] or list(stage.outputs)
    sizes = {name: rms(golden.outputs[name].astype(np.float64)) for name in named}
    errors: list[dict[str, float]] = []
    for step, crossing in enumerate(stepping.crossings(stage, golden)):
        inputs, slots = given(crossing.inputs), stepping.written(stage, golden, step)
        candidate = cross(inputs)
        errors.append(
            {
                name: _error(stage, name, size, inputs, crossing.outputs, candidate, slots)
                for name, size in sizes.items()
            }
        )
    largest = [max(of_step.values()) for of_step in errors]
    chosen = next(step for step, error in enumerate(largest) if error >= SHARE * max(largest))
    beyond = (any(error > bounds.get(name, BEGINS) for name, error in of_step.items()) for of_step in errors)
    # That step is run again: to remember each would be to hold all of their caches.
    crossing = next(islice(stepping.crossings(stage, golden), chosen, None))
    return Failure(
        stage=stage,
        inputs=crossing.inputs,
        reference=crossing.outputs,
        candidate=cross(given(crossing.inputs)),
        outputs=sorted(named, key=errors[chosen].__getitem__, reverse=True),
        step=chosen,
        errors=largest,
        begins=next((step for step, wrong in enumerate(beyond) if wrong and step < chosen), chosen),
    )


def _error(
    stage: Stage, name: str, size: float, inputs: Arrays, outputs: Arrays, candidate: Arrays, slots: Arrays
) -> float:
    """Return the error of an output at a step over its size in the whole run; of a cache, in the slots written there.

    Infinite where a value is missing, of another shape or not finite, where a whole number differs, or where a slot was
    not left alone.
    """
    value, reference = candidate.get(name), outputs[name]
    if value is None or value.shape != reference.shape:
        return math.inf
    if reference.dtype.kind in "iu":
        return 0.0 if np.array_equal(value, reference) else math.inf
    if name in slots:
        if stepping.spoilt(stage, name, inputs[stage.carries[name]], value, slots[name]).size:
            return math.inf
        axis = stepping.slots_of(stage)[name]
        value, reference = np.take(value, slots[name], axis), np.take(reference, slots[name], axis)
    off = rms(value.astype(np.float64) - reference)
    if not off:
        return 0.0
    return off / size if math.isfinite(off) and size else math.inf


def leaking(found: Failure, module: nn.Module) -> Blame | None:
    """Return a blame if a stage's module itself gives other values for an input with padding than without it.

    Args:
        found: The failing crossing, at the length that upstream has it.
        module: The traceable module of its stage.
    """
    stage, bucket, length = found.stage, fitting(found.stage, found.inputs).bucket, valid(found.stage, found.inputs)
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


def in_bucket(found: Failure, module: nn.Module, execute: Callable[[Stage, Arrays], Arrays]) -> Failure:
    """Return the failing crossing in the size of its bucket, with the stage of that bucket.

    Args:
        found: The failing crossing, at the length that upstream has it.
        module: The traceable module of its stage, which tells what is behind the valid part.
        execute: Runs the artifact of the stage of a bucket.
    """
    one = fitting(found.stage, found.inputs)
    assert one.bucket is not None
    inputs = filled(found.stage, found.inputs, one.bucket)
    reference = {name: value.copy() for name, value in call(module, found.stage, inputs).items()}
    for name, value in found.reference.items():
        reference[name][tuple(map(slice, np.shape(value)))] = value
    return replace(found, stage=one, inputs=inputs, reference=reference, candidate=execute(one, inputs))
