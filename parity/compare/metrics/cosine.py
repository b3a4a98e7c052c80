from __future__ import annotations

import math

from parity.compare.metrics.arithmetic import norm
from parity.compare.metrics.registry import Array, metric


@metric(better="higher", ideal=1.0, blind_to=("gain",))
def cosine(reference: Array, candidate: Array) -> float:
    """The cosine of the angle between the two, taken as vectors.

    Blind to every gain, and weakly to an offset. A tensor of zeros has no direction: NaN, even against zeros.
    """
    product = norm(reference) * norm(candidate)
    return float(reference.reshape(-1) @ candidate.reshape(-1)) / product if product else math.nan
