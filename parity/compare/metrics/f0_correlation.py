from __future__ import annotations

import math

from parity.compare.metrics.arithmetic import pearson
from parity.compare.metrics.registry import Array, metric
from parity.compare.metrics.voicing_agreement import VOICED_HZ

FEWEST_FRAMES = 8
"""A correlation of fewer points says little: it is undefined."""


@metric(better="higher", ideal=1.0, blind_to=("gain", "offset", "half"))
def f0_correlation(reference: Array, candidate: Array) -> float:
    """The correlation of two pitch curves over the frames that both voice.

    Blind to a transposed voice (gain), to a raised one (offset) and to frames that only one of them voices: gate it
    together with the voicing agreement and a metric of scale.
    """
    both = (reference > VOICED_HZ) & (candidate > VOICED_HZ)
    if both.sum() < FEWEST_FRAMES:
        return math.nan
    return pearson(reference[both], candidate[both])
