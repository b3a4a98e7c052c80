"""Metrics of waveforms: loudness, offset, shift, phase, clicks and length. Time is the last axis."""

from __future__ import annotations

import math

import numpy as np

from parity.base.arithmetic import rms
from parity.compare.metrics.registry import AUDIO, Array, metric
from parity.compare.metrics.spectra import stft

FARTHEST = 4096
ROWS = 16
"""The number of rows that are aligned, those of most energy: what shifts a tensor shifts them all."""
CLEARLY = 1.1
"""A lag is taken over a smaller one only if that leaves this much more unexplained: a tone fits at every period."""
ROUNDING = 1e-12
PHASE_WINDOW = 512
EMPTY = 1e-6
"""A bin of the candidate under this share of the reference's magnitude, at equal loudness, has no phase."""


# A missing window normalisation is 3.5 dB.
@metric(
    kinds=AUDIO,
    better="near",
    ideal=0.0,
    floor=1e-2,
    limit=3.0,
    unit="dB",
    blind_to=("shift", "sign", "order", "phase"),
)
def gain_db(reference: Array, candidate: Array) -> float:
    """Return the loudness of the candidate over the reference's, in decibels.

    The rms ratio on the scale of hearing, and as blind: a missing window normalisation of 1.5 reads +3.5 dB. NaN where
    either is silent.
    """
    expected, actual = rms(reference), rms(candidate)
    return 20 * math.log10(actual / expected) if expected and actual else math.nan


@metric(
    kinds=AUDIO,
    better="lower",
    ideal=0.0,
    floor=1e-4,
    limit=0.5,
    blind_to=("gain", "shift", "sign", "order", "phase", "half", "zeros", "spike"),
)
def dc_offset(reference: Array, candidate: Array) -> float:
    """Return the distance of the two means over the rms of the reference, from 0 up.

    Sees the mean of all values and nothing else: offsets of channels that cancel are not seen.
    """
    expected = rms(reference)
    return abs(float(candidate.mean()) - float(reference.mean())) / expected if expected else math.nan


@metric(
    kinds=AUDIO,
    better="near",
    ideal=0.0,
    floor=0.0,
    limit=64.0,
    unit="steps",
    blind_to=("gain", "offset", "sign", "order", "half", "spike"),
)
def shift(reference: Array, candidate: Array) -> float:
    """Return the steps by which the candidate comes late along the last axis, below 0 early, where it aligns best.

    Searches up to a quarter of the length, and up to 4096 steps. Blind to whatever no shift explains: two arrays that
    have nothing in common read 0. NaN where there is nothing to align.
    """
    found = best_lag(reference, candidate)
    return math.nan if found is None else float(found)


# Chance is π/2.
@metric(
    kinds=AUDIO,
    better="lower",
    ideal=0.0,
    floor=1e-3,
    limit=1.5,
    unit="rad",
    blind_to=("gain", "offset", "spike"),
)
def phase_error(reference: Array, candidate: Array) -> float:
    """Return the mean distance of the phases of short-time spectra, weighted with the reference's energy, from 0 to π.

    0 is in phase, π/2 what chance gives, π a flipped sign. A bin that the candidate leaves empty counts as chance.
    Blind to gain, to a constant offset, and to magnitudes in general; weakly to single values.
    """
    window = min(PHASE_WINDOW, reference.shape[-1])
    loudness = math.sqrt(float(np.vdot(candidate, candidate) / np.vdot(reference, reference)))
    if not loudness:
        return math.nan
    r, c = (
        stft(values - values.mean(axis=-1, keepdims=True), window, max(1, window // 2))
        for values in (reference, candidate)
    )
    energy = np.square(r.real) + np.square(r.imag)
    cross = c * r.conj()
    empty = np.square(cross.real) + np.square(cross.imag) < np.square(EMPTY * loudness * energy)
    apart = np.where(empty, math.pi / 2, np.abs(np.arctan2(cross.imag, cross.real)))
    weights = float(energy.sum())
    return float(np.vdot(energy, apart)) / weights if weights > 0 else math.nan


@metric(kinds=("stream",), better="lower", ideal=0.0, floor=1e-3, limit=1.0, blind_to=("offset",))
def click(reference: Array, candidate: Array) -> float:
    """Return the largest step of the error between two samples over the reference's own largest step, from 0 up.

    Where the frames of a stream don't join, the error jumps, however small the frames' own errors are.
    """
    steps = [float(np.abs(np.diff(values, axis=-1)).max(initial=0.0)) for values in (reference, candidate - reference)]
    return steps[1] / steps[0] if steps[0] else math.nan


def best_lag(reference: Array, candidate: Array) -> int | None:
    """Return the smallest lag that explains the candidate about as well as any; None if there is nothing to align."""
    from scipy import fft  # takes a third of a second

    length = reference.shape[-1]
    farthest = min(FARTHEST, length // 4)
    r, c = loudest_rows(reference, reference, candidate)
    r, c = r - r.mean(axis=-1, keepdims=True), c - c.mean(axis=-1, keepdims=True)
    if not farthest or not r.any() or not c.any():
        return None
    lags = np.arange(-farthest, farthest + 1)
    size = fft.next_fast_len(length + farthest, real=True)
    cross = (fft.rfft(c, size) * fft.rfft(r, size).conj()).sum(axis=0)
    products = fft.irfft(cross, size)[lags]
    energy = _overlap(r, -lags) * _overlap(c, lags)
    explained = np.divide(np.square(products), energy, out=np.zeros(len(lags)), where=energy > 0)
    unexplained = np.maximum(0.0, 1 - explained)
    enough = unexplained <= CLEARLY * unexplained.min() + ROUNDING
    return int(min(lags[enough], key=lambda lag: (abs(lag), lag)))


def loudest_rows(measured: Array, reference: Array, candidate: Array) -> tuple[Array, Array]:
    """Return the rows of both in which a third array has most energy: few enough to look at closely."""
    m, r, c = (values.reshape(-1, values.shape[-1]) for values in (measured, reference, candidate))
    if len(m) <= ROWS:
        return r, c
    loudest = np.argsort(-np.einsum("ij,ij->i", m, m), kind="stable")[:ROWS]
    return r[loudest], c[loudest]


def _overlap(rows: Array, lags: np.ndarray) -> Array:
    """Return the energy left of rows once so many steps are cut from their beginning, or below 0 from their end."""
    until = np.concatenate([[0.0], np.cumsum(np.einsum("ij,ij->j", rows, rows))])
    length = len(until) - 1
    return np.asarray(until[np.minimum(length, length + lags)] - until[np.maximum(0, lags)])
