from __future__ import annotations

import numpy as np

from parity.compare.metrics.registry import Array, metric

VOICED_HZ = 10.0
"""Above it a frame is voiced: the threshold of the harmonic source in HiFi-GAN's neural source filter and its heirs."""


@metric(better="higher", ideal=1.0, blind_to=("gain", "spike"))
def voicing_agreement(reference: Array, candidate: Array) -> float:
    """The share of frames of two pitch curves that are voiced in both or in neither.

    Blind to the pitch itself, as long as it stays above the threshold.
    """
    return float(np.mean((reference > VOICED_HZ) == (candidate > VOICED_HZ)))
