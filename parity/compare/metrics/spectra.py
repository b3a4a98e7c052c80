"""Short-time spectra of the last axis, and metrics of hearing: mel spectra in decibels, and the power of the highs."""

from __future__ import annotations

import math
import warnings
from functools import cache

import numpy as np
from numpy.typing import NDArray

from parity.base.arithmetic import pearson
from parity.base.libraries import librosa
from parity.compare.metrics.registry import AUDIO, Array, metric

WINDOW_SECONDS = 1024 / 24_000
HOP_SECONDS = 256 / 24_000
MEL_BANDS = 80
FLOOR_DB = -80.0
"""The level below the peak of the reference at which a band counts as silent."""
HIGHS = 1 / 3
"""The share of the sample rate from which the high band runs: from 8 kHz for audio of 24 kHz."""
NOTHING = 1e-12
"""A band with less than this share of all power holds nothing but the leakage of the others."""


def window_and_hop(sample_rate: float) -> tuple[int, int]:
    """Return the window and the hop of the metrics of hearing, in samples."""
    return max(8, 2 * round(WINDOW_SECONDS * sample_rate / 2)), max(2, round(HOP_SECONDS * sample_rate))


def stft(values: Array, window: int, hop: int, lead: int | None = None) -> NDArray[np.complex128]:
    """Return the spectra of all rows under a Hann window, as rows by bins by frames.

    Args:
        values: The signals, along the last axis.
        window: The length of the window, in samples.
        hop: The distance of two frames, in samples.
        lead: Zeros before the first sample. By default all but one hop of a window, so that every sample lies under as
            many windows as any other. Half a window puts the middle of the first frame on the first sample.
    """
    rows = values.reshape(-1, values.shape[-1])
    before = window - hop if lead is None else lead
    frames = -(-(rows.shape[1] + before) // hop)
    after = (frames - 1) * hop + window - before - rows.shape[1]
    padded = np.pad(rows, ((0, 0), (before, max(after, 0))))
    return np.asarray(librosa().stft(padded, n_fft=window, hop_length=hop, center=False))


def power(values: Array, sample_rate: float) -> Array:
    """Return the power of all rows, as rows by bins by frames."""
    return np.square(np.abs(stft(values, *window_and_hop(sample_rate))))


def mel_power(values: Array, sample_rate: float) -> Array:
    """Return the power of all rows in each mel band, as rows by bands by frames."""
    return np.asarray(_mel_filters(sample_rate) @ power(values, sample_rate))


def decibels(power: Array, floor: float) -> Array:
    """Return power in decibels, no lower than a floor."""
    return np.asarray(10 * np.log10(np.maximum(power, floor)))


def mel(hertz: float) -> float:
    """Return a frequency on the mel scale of HTK."""
    return float(librosa().hz_to_mel(hertz, htk=True))


def mel_frequencies(count: int, sample_rate: float) -> Array:
    """Return frequencies in hertz, evenly spaced in mel from 0 to half the rate."""
    return np.asarray(librosa().mel_frequencies(count, fmin=0.0, fmax=sample_rate / 2, htk=True))


@cache
def _mel_filters(sample_rate: float) -> Array:
    """Return triangles, evenly spaced in HTK's mel scale from 0 to half the rate, as bands by bins."""

    window, _ = window_and_hop(sample_rate)
    with warnings.catch_warnings():
        # At a low rate the lowest bands lie between two bins. They are silent for reference and candidate alike.
        warnings.filterwarnings("ignore", "Empty filters", UserWarning)
        found = librosa().filters.mel(
            sr=sample_rate, n_fft=window, n_mels=MEL_BANDS, htk=True, norm=None, dtype=np.float64
        )
    return np.asarray(found)


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
