from __future__ import annotations

import math

import numpy as np

from parity.compare.metrics.registry import Array, metric
from parity.compare.metrics.spectra import FLOOR_DB, decibels, mel_power


@metric(better="lower", ideal=0.0, unit="dB", blind_to=("shift", "sign"))
def log_mel_distance(reference: Array, candidate: Array, sample_rate: float) -> float:
    """How far apart the two sound: the mean difference of their mel bands in decibels, gain included.

    Counts the bands that either sounds in, within 80 dB of the reference's peak. Blind to sign, to a shift much shorter
    than a window, and weakly to phase.
    """
    expected, actual = mel_power(reference, sample_rate), mel_power(candidate, sample_rate)
    floor = float(expected.max()) * 10 ** (FLOOR_DB / 10)
    sounding = np.maximum(expected, actual) > floor
    if not floor or not sounding.any():
        return math.nan
    return float(np.abs(decibels(actual, floor) - decibels(expected, floor))[sounding].mean())
