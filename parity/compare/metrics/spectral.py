"""Metrics of hearing: mel spectra in decibels, and the power of the highs. Time is the last axis."""

from __future__ import annotations

import math

import numpy as np

from parity.compare.metrics.arithmetic import pearson
from parity.compare.metrics.kinds import AUDIO
from parity.compare.metrics.registry import Array, metric
from parity.compare.metrics.spectra import decibels, mel_power, power

FLOOR_DB = -80.0
"""The level below the peak of the reference at which a band counts as silent."""
HIGHS = 1 / 3
"""The share of the sample rate from which the high band runs: from 8 kHz for audio of 24 kHz."""
NOTHING = 1e-12
"""A band with less than this share of all power holds nothing but the leakage of the others."""


@metric(kinds=AUDIO, better="lower", ideal=0.0, floor=1e-2, limit=6.0, unit="dB", blind_to=("shift", "sign"))
def log_mel_distance(reference: Array, candidate: Array, sample_rate: float) -> float:
    """Return the mean difference of the mel bands in decibels, gain included, from 0 up.

    Counts the bands that either sounds in, within 80 dB of the reference's peak. Blind to sign, to a shift much shorter
    than a window, and weakly to phase.
    """
    expected, actual = mel_power(reference, sample_rate), mel_power(candidate, sample_rate)
    floor = float(expected.max()) * 10 ** (FLOOR_DB / 10)
    sounding = np.maximum(expected, actual) > floor
    if not floor or not sounding.any():
        return math.nan
    return float(np.abs(decibels(actual, floor) - decibels(expected, floor))[sounding].mean())


@metric(kinds=AUDIO, better="higher", ideal=1.0, floor=1e-4, limit=0.5, blind_to=("gain", "shift", "sign", "phase"))
def mel_correlation(reference: Array, candidate: Array, sample_rate: float) -> float:
    """Return the correlation of the mel bands in decibels, from -1 to 1: whether both sound alike, at any loudness.

    Each within 80 dB of its own peak. Blind to gain and sign, and to what keeps magnitudes.
    """
    levels = []
    for values in (reference, candidate):
        bands = mel_power(values, sample_rate)
        peak = float(bands.max())
        if not peak:
            return math.nan
        levels.append(decibels(bands / peak, 10 ** (FLOOR_DB / 10)))
    return pearson(*levels)


@metric(
    kinds=AUDIO,
    better="near",
    ideal=0.0,
    floor=1e-1,
    limit=6.0,
    unit="dB",
    blind_to=("offset", "shift", "sign", "phase"),
)
def high_band_power(reference: Array, candidate: Array, sample_rate: float) -> float:
    """Return the power above a third of the sample rate over the reference's, in decibels: hiss, or lost highs.

    Blind to everything below that band. NaN where either has nothing in it.
    """
    expected, actual = (_highs(values, sample_rate) for values in (reference, candidate))
    return 10 * math.log10(actual / expected) if expected and actual else math.nan


def _highs(values: Array, sample_rate: float) -> float:
    bins = power(values - values.mean(axis=-1, keepdims=True), sample_rate).sum(axis=(0, 2))
    high = float(bins[math.ceil(HIGHS * 2 * (len(bins) - 1)) :].sum())
    return high if high > NOTHING * float(bins.sum()) else 0.0
