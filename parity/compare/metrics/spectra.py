"""Short-time spectra, along the last axis. Zeros pad both ends, so that every sample lies under full windows."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from parity.compare.metrics.registry import Array

WINDOW_SECONDS = 1024 / 24_000
HOP_SECONDS = 256 / 24_000
MEL_BANDS = 80
FLOOR_DB = -80.0
"""How far under the peak of the reference a band counts as silent."""
BLOCK = 1 << 20
"""Samples that are transformed at once: more would only move through memory."""


def window_and_hop(sample_rate: float) -> tuple[int, int]:
    return max(8, 2 * round(WINDOW_SECONDS * sample_rate / 2)), max(2, round(HOP_SECONDS * sample_rate))


def blocks(values: Array, window: int, hop: int, *, remove_mean: bool = False) -> Iterator[Array]:
    """The rows of an array (every axis but the last runs over rows), padded, a block of rows or of a row at a time."""
    rows = values.reshape(-1, values.shape[-1])
    length = rows.shape[1]
    steps = -(-(length + window - hop) // hop)
    steps_at_once = max(1, BLOCK // hop)
    padded_length = (steps - 1) * hop + window
    rows_at_once = max(1, BLOCK // padded_length)
    for first in range(0, len(rows), rows_at_once):
        some = rows[first : first + rows_at_once]
        padded = np.zeros((len(some), padded_length))
        padded[:, window - hop : window - hop + length] = some - some.mean(-1, keepdims=True) if remove_mean else some
        for start in range(0, steps, steps_at_once):
            end = min(start + steps_at_once, steps)
            yield padded[:, start * hop : (end - 1) * hop + window]


def spectra(block: Array, window: int, hop: int) -> NDArray[np.complex128]:
    """The spectrum of each frame of a block of rows, under a Hann window: (rows, frames, bins)."""
    frames = sliding_window_view(block, window, axis=-1)[:, ::hop]
    return np.asarray(scipy.fft.rfft(frames * _hann(window), axis=-1, overwrite_x=True))


def power(values: Array, sample_rate: float) -> Array:
    """The power of each frame of all rows, one after another: (frames, bins)."""
    window, hop = window_and_hop(sample_rate)
    found = [np.square(np.abs(spectra(block, window, hop))) for block in blocks(values, window, hop)]
    return np.concatenate([power.reshape(-1, power.shape[-1]) for power in found])


def mel_power(values: Array, sample_rate: float) -> Array:
    """The power of each frame of all rows in each mel band: (frames, bands)."""
    window, hop = window_and_hop(sample_rate)
    filters = mel_filters(sample_rate)
    found = [np.square(np.abs(spectra(block, window, hop))) @ filters for block in blocks(values, window, hop)]
    return np.concatenate([power.reshape(-1, MEL_BANDS) for power in found])


def decibels(power: Array, floor: float) -> Array:
    return np.asarray(10 * np.log10(np.maximum(power, floor)))


@cache
def mel_filters(sample_rate: float) -> Array:
    """Triangles, evenly spaced in mel (the formula of HTK) from 0 to half the rate: (bins, bands)."""
    window, _ = window_and_hop(sample_rate)
    highest = 2595 * np.log10(1 + sample_rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, highest, MEL_BANDS + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(window, 1 / sample_rate)[:, None]
    rising = (bins - edges[:-2]) / np.diff(edges[:-1])
    falling = (edges[2:] - bins) / np.diff(edges[1:])
    return np.asarray(np.maximum(0, np.minimum(rising, falling)))


@cache
def _hann(window: int) -> Array:
    return np.asarray(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window))
