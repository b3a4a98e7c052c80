"""Short-time spectra of the last axis, by librosa, which is imported late because that takes a second."""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
from numpy.typing import NDArray

from parity.compare.metrics.registry import Array

WINDOW_SECONDS = 1024 / 24_000
HOP_SECONDS = 256 / 24_000
MEL_BANDS = 80


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
    import librosa

    rows = values.reshape(-1, values.shape[-1])
    before = window - hop if lead is None else lead
    frames = -(-(rows.shape[1] + before) // hop)
    after = (frames - 1) * hop + window - before - rows.shape[1]
    padded = np.pad(rows, ((0, 0), (before, max(after, 0))))
    return np.asarray(librosa.stft(padded, n_fft=window, hop_length=hop, center=False))


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
    import librosa

    return float(librosa.hz_to_mel(hertz, htk=True))


def mel_frequencies(count: int, sample_rate: float) -> Array:
    """Return frequencies in hertz, evenly spaced in mel from 0 to half the rate."""
    import librosa

    return np.asarray(librosa.mel_frequencies(count, fmin=0.0, fmax=sample_rate / 2, htk=True))


@cache
def _mel_filters(sample_rate: float) -> Array:
    """Return triangles, evenly spaced in HTK's mel scale from 0 to half the rate, as bands by bins."""
    from librosa.filters import mel as triangles

    window, _ = window_and_hop(sample_rate)
    with warnings.catch_warnings():
        # At a low rate the lowest bands lie between two bins. They are silent for reference and candidate alike.
        warnings.filterwarnings("ignore", "Empty filters", UserWarning)
        found = triangles(sr=sample_rate, n_fft=window, n_mels=MEL_BANDS, htk=True, norm=None, dtype=np.float64)
    return np.asarray(found)
