from __future__ import annotations

import math

from parity.compare.metrics.arithmetic import norm
from parity.compare.metrics.registry import Array, metric


@metric(better="lower", ideal=0.0)
def relative_l2(reference: Array, candidate: Array) -> float:
    """The energy of the error as a share of the reference's: ‖c − r‖ / ‖r‖."""
    expected = norm(reference)
    return norm(candidate - reference) / expected if expected else math.nan
