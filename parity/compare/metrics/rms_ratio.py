from __future__ import annotations

import math

from parity.compare.metrics.arithmetic import rms
from parity.compare.metrics.registry import Array, metric


@metric(better="near", ideal=1.0, blind_to=("shift", "sign", "order", "phase"))
def rms_ratio(reference: Array, candidate: Array) -> float:
    """How loud the candidate is against the reference.

    Blind to everything that keeps the energy: a phase that is lost entirely still reads 1.
    """
    expected = rms(reference)
    return rms(candidate) / expected if expected else math.nan
