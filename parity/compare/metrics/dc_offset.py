from __future__ import annotations

import math

from parity.compare.metrics.arithmetic import rms
from parity.compare.metrics.registry import Array, metric


@metric(better="lower", ideal=0.0, blind_to=("gain", "shift", "sign", "order", "phase", "half", "zeros", "spike"))
def dc_offset(reference: Array, candidate: Array) -> float:
    """How far the mean moved, against the rms of the reference.

    Sees the mean over everything and nothing else: offsets of channels that cancel are not seen.
    """
    expected = rms(reference)
    return abs(float(candidate.mean()) - float(reference.mean())) / expected if expected else math.nan
