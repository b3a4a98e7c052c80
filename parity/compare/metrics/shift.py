from __future__ import annotations

import math

import numpy as np
import scipy.fft

from parity.compare.metrics.registry import Array, metric

FARTHEST = 4096
ROWS = 16
"""How many rows are aligned, those of most energy: what shifts a tensor shifts them all."""
CLEARLY = 1.1
"""A lag is taken over a smaller one only if that leaves this much more unexplained: a tone fits at every period."""
ROUNDING = 1e-12


@metric(better="near", ideal=0.0, unit="steps", blind_to=("gain", "offset", "sign", "order", "half", "spike"))
def shift(reference: Array, candidate: Array) -> float:
    """By how many steps along the last axis the candidate comes late, or early below 0, where it aligns best.

    Looks up to a quarter of the length away, and no farther than 4096 steps. Blind to whatever no shift explains: two
    arrays that have nothing in common read 0.
    """
    found = best_lag(reference, candidate)
    return math.nan if found is None else float(found)


def best_lag(reference: Array, candidate: Array) -> int | None:
    """The lag that explains the candidate; the smallest of those that do it about as well. None: nothing to align."""
    length = reference.shape[-1]
    farthest = min(FARTHEST, length // 4)
    r, c = loudest_rows(reference, reference, candidate)
    r, c = r - r.mean(axis=-1, keepdims=True), c - c.mean(axis=-1, keepdims=True)
    if not farthest or not r.any() or not c.any():
        return None
    lags = np.arange(-farthest, farthest + 1)
    size = scipy.fft.next_fast_len(length + farthest, real=True)
    cross = (scipy.fft.rfft(c, size) * scipy.fft.rfft(r, size).conj()).sum(axis=0)
    products = scipy.fft.irfft(cross, size)[lags]
    energy = _overlap(r, -lags) * _overlap(c, lags)
    explained = np.divide(np.square(products), energy, out=np.zeros(len(lags)), where=energy > 0)
    unexplained = np.maximum(0.0, 1 - explained)
    enough = unexplained <= CLEARLY * unexplained.min() + ROUNDING
    return int(min(lags[enough], key=lambda lag: (abs(lag), lag)))


def loudest_rows(measured: Array, reference: Array, candidate: Array) -> tuple[Array, Array]:
    """The rows of both where a third has most energy: few enough to look at closely."""
    m, r, c = (values.reshape(-1, values.shape[-1]) for values in (measured, reference, candidate))
    if len(m) <= ROWS:
        return r, c
    loudest = np.argsort(-np.einsum("ij,ij->i", m, m), kind="stable")[:ROWS]
    return r[loudest], c[loudest]


def _overlap(rows: Array, lags: np.ndarray) -> Array:
    """The energy that is left of rows once so many steps are cut from their beginning, or from their end below 0."""
    until = np.concatenate([[0.0], np.cumsum(np.einsum("ij,ij->j", rows, rows))])
    length = len(until) - 1
    return np.asarray(until[np.minimum(length, length + lags)] - until[np.maximum(0, lags)])
