"""The crossing at which a stage goes wrong: of a stage that runs step by step, the first step that does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from parity import steps
from parity.blame.distance import relative_l2
from parity.declarations import Arrays, Seam, Stage
from parity.verdict import Blame

SHARE = 0.3
"""The share of the worst step's error from which an earlier step counts as the first."""
ROUNDING = 1e-6
"""An error below this is no reason to look at a step at all."""


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
        """A blame that says at which step it was found."""
        if not self.steps:
            return blamed
        where = f"from step {self.step} of {self.steps} on"
        return replace(blamed, detail="; ".join(part for part in (where, blamed.detail) if part))


def find(
    stage: Stage, golden: Seam, cross: Callable[[Arrays], dict[str, np.ndarray]], outputs: Sequence[str]
) -> Failing:
    """The crossing to look into, with upstream's values going in."""
    if not stage.stepped:
        return Failing(golden.inputs, golden.outputs, cross(golden.inputs), outputs)
    named = [name for name in outputs if name in stage.outputs] or list(stage.outputs)
    errors = [_error(named, crossing.outputs, cross(crossing.inputs)) for crossing in steps.crossings(stage, golden)]
    worst = max(errors)
    first = next(step for step, error in enumerate(errors) if error >= SHARE * worst)
    crossing = next(crossing for step, crossing in enumerate(steps.crossings(stage, golden)) if step == first)
    candidate = cross(crossing.inputs)
    ranked = sorted(named, key=lambda name: -_error([name], crossing.outputs, candidate))
    return Failing(crossing.inputs, crossing.outputs, candidate, ranked, first, len(errors), worst > ROUNDING)


def _error(names: Sequence[str], reference: Arrays, candidate: Arrays) -> float:
    """The largest relative error; infinite where a value is missing, of another shape, or not finite alone."""
    return max(relative_l2(reference[name], candidate[name]) if name in candidate else np.inf for name in names)
