"""Outputs that do not keep what the stage declares: missing, renamed, unexpected, of another shape or dtype."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from parity.blame.distance import relative_l2
from parity.declarations import Arrays, Stage, Variant

SAME = 0.05
"""The relative L2 under which an unexpected output is the missing one under another name."""


@dataclass(frozen=True)
class Broken:
    looks_like: str
    said: str


def broken(
    stage: Stage, variant: Variant, output: str, reference: Arrays, candidate: Arrays, numerics: str
) -> Broken | None:
    """Return how an output breaks the declared interface, or None."""
    if output not in candidate:
        return _missing(output, reference, candidate)
    if output not in reference:
        return Broken("unexpected", f"the package gives `{output}`, which the stage does not declare")
    actual, expected = candidate[output], reference[output]
    if actual.shape != expected.shape:
        return Broken(f"shape {actual.shape} instead of {expected.shape}", "")
    if output in stage.outputs:
        declared = stage.outputs[output].dtype_in(variant)
        wanted = "float32" if numerics == "fp32" and declared == "float16" else declared
        if actual.dtype != np.dtype(wanted):
            return Broken(f"dtype {actual.dtype} instead of {wanted}", "")
    return None


def _missing(output: str, reference: Arrays, candidate: Arrays) -> Broken:
    gives = f"the package gives {', '.join(f'`{name}`' for name in candidate) or 'nothing'}"
    strangers = {name: value for name, value in candidate.items() if name not in reference}
    if output in reference:
        for name, value in strangers.items():
            if value.shape == reference[output].shape and relative_l2(reference[output], value) < SAME:
                return Broken(f"renamed to {name}", f"{gives}; `{name}` has the values of `{output}`")
    return Broken("missing", gives)
