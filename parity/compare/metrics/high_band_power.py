from __future__ import annotations

import math

from parity.compare.metrics.registry import Array, metric
from parity.compare.metrics.spectra import power

SHARE_OF_RATE = 1 / 3
"""Where the high band begins: at 8 kHz for audio of 24 kHz."""
NOTHING = 1e-12
"""A band with less than this share of all power holds nothing but the leakage of the others."""


@metric(better="near", ideal=0.0, unit="dB", blind_to=("offset", "shift", "sign", "phase"))
def high_band_power(reference: Array, candidate: Array, sample_rate: float) -> float:
    """The power above a third of the sample rate against the reference's: hiss, or highs that are gone.

    Blind to everything below that band.
    """
    bands = []
    for values in (reference, candidate):
        per_bin = power(values - values.mean(axis=-1, keepdims=True), sample_rate).sum(axis=0)
        first = math.ceil(SHARE_OF_RATE * 2 * (len(per_bin) - 1))
        high = float(per_bin[first:].sum())
        bands.append(high if high > NOTHING * float(per_bin.sum()) else 0.0)
    expected, actual = bands
    return 10 * math.log10(actual / expected) if expected and actual else math.nan
