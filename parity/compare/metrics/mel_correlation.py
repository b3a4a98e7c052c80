from __future__ import annotations

import math

from parity.compare.metrics.arithmetic import pearson
from parity.compare.metrics.registry import Array, metric
from parity.compare.metrics.spectra import FLOOR_DB, decibels, mel_power


@metric(better="higher", ideal=1.0, blind_to=("gain", "shift", "sign", "phase"))
def mel_correlation(reference: Array, candidate: Array, sample_rate: float) -> float:
    """The correlation of the mel bands in decibels: whether the two sound alike, at whatever loudness.

    Each within 80 dB of its own peak. Blind to gain and sign, and to what keeps magnitudes.
    """
    levels = []
    for values in (reference, candidate):
        power = mel_power(values, sample_rate)
        peak = float(power.max())
        if not peak:
            return math.nan
        levels.append(decibels(power / peak, 10 ** (FLOOR_DB / 10)))
    return pearson(*levels)
