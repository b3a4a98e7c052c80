from __future__ import annotations

import math

import numpy as np

from parity.compare.metrics.arithmetic import rms
from parity.compare.metrics.registry import Array, metric


@metric(better="lower", ideal=0.0)
def max_relative(reference: Array, candidate: Array) -> float:
    """The largest difference of any value, against the rms of the reference.

    Against the rms and not value by value: a difference where the reference crosses zero is no greater fault.
    """
    expected = rms(reference)
    return float(np.abs(candidate - reference).max()) / expected if expected else math.nan
