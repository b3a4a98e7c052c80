from __future__ import annotations

import math

from parity.compare.metrics.arithmetic import rms
from parity.compare.metrics.registry import Array, metric


@metric(better="near", ideal=0.0, unit="dB", blind_to=("shift", "sign", "order", "phase"))
def gain_db(reference: Array, candidate: Array) -> float:
    """How loud the candidate is against the reference, in decibels.

    The rms ratio on the scale of hearing, and as blind: a missing window normalisation of 1.5 reads +3.5 dB.
    """
    expected, actual = rms(reference), rms(candidate)
    return 20 * math.log10(actual / expected) if expected and actual else math.nan
