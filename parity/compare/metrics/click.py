from __future__ import annotations

import math

import numpy as np

from parity.compare.metrics.registry import Array, metric


@metric(better="lower", ideal=0.0, blind_to=("offset",))
def click(reference: Array, candidate: Array) -> float:
    """The largest step of the error from one sample to the next, against the reference's own: a seam that clicks.

    Where the frames of a stream don't join, the error jumps, however small the frames' own errors are.
    """
    steps = [float(np.abs(np.diff(values, axis=-1)).max(initial=0.0)) for values in (reference, candidate - reference)]
    return steps[1] / steps[0] if steps[0] else math.nan
