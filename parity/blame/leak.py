"""The failing crossing of a stage with buckets, as its artifact had it: filled up. And padding that leaks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from torch import nn

from parity.blame.distance import relative_l2
from parity.blame.first_step import Failing
from parity.build.convert import call
from parity.declarations import Arrays, Stage
from parity.run.runtime import cut, filled, fitting, valid
from parity.verdict import Blame

SHARE = 0.5
"""The part of an artifact's error from which on the padding of the module alone explains it."""


def blamed(stage: Stage, module: nn.Module, found: Failing) -> Blame | None:
    """Return a blame if the traceable module itself gives other values for a filled-up input than for the input.

    Args:
        stage: The stage, with its buckets.
        module: Its traceable module.
        found: The failing crossing, at the length that upstream has it.
    """
    one, length = fitting(stage, found.inputs), valid(stage, found.inputs)
    if one.bucket in (None, length):
        return None
    assert one.bucket is not None
    alone = call(module, stage, found.inputs)
    padded = cut(stage, call(module, stage, filled(stage, found.inputs, one.bucket)), one.bucket, length)
    for name in found.outputs:
        moved, error = relative_l2(alone[name], padded[name]), relative_l2(found.reference[name], found.candidate[name])
        if moved >= SHARE * error:
            said = (
                f"{length} in the bucket of {one.bucket}: the traceable module gives other values with padding than "
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
