"""Arithmetic that goldens, metrics and blame share: norms, the correlation, and the distance of two arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

_CHUNK = 1 << 15
"""Values at once: float64 copies of a large array would be slow and take its memory several times over."""

NO_SPREAD = 1e-12
"""A standard deviation under this share of the largest value is rounding: the values are constant."""


@dataclass(frozen=True)
class Distance:
    """The norm of the difference of two arrays as a share of the expected one's, and the largest difference."""

    relative_l2: float
    max_abs: float


def distance(expected: np.ndarray, actual: np.ndarray) -> Distance:
    """Return the distance of two arrays of one shape.

    Non-finite values have to be the same in both arrays, or the distance is infinite. The relative L2 to an array of
    zeros is infinite, unless the other is zeros too.
    """
    one, other = expected.reshape(-1), actual.reshape(-1)
    difference, whole, largest = 0.0, 0.0, 0.0
    with np.errstate(all="ignore"):
        for start in range(0, one.size, _CHUNK):
            x, y = (flat[start : start + _CHUNK].astype(np.float64) for flat in (one, other))
            apart = y - x
            more, size = float(apart @ apart), float(x @ x)
            if not math.isfinite(more + size):
                finite = np.isfinite(x)
                if not np.array_equal(np.where(finite, 0.0, x), np.where(np.isfinite(y), 0.0, y), equal_nan=True):
                    return Distance(math.inf, math.inf)
                apart, x = apart[finite], x[finite]
                more, size = float(apart @ apart), float(x @ x)
            difference, whole = difference + more, whole + size
            if more:
                largest = max(largest, float(apart.max()), -float(apart.min()))
    if not difference:
        return Distance(0.0, 0.0)
    return Distance(math.sqrt(difference / whole) if whole else math.inf, largest)


def norm(values: np.ndarray) -> float:
    flat = values.reshape(-1)
    return math.sqrt(float(flat @ flat))


def rms(values: np.ndarray) -> float:
    return norm(values) / math.sqrt(values.size)


def pearson(reference: np.ndarray, candidate: np.ndarray) -> float:
    """Return the correlation of two arrays; NaN where one of them is constant."""
    r, c = (values.reshape(-1) - values.mean() for values in (reference, candidate))
    for deviation, values in ((r, reference), (c, candidate)):
        if rms(deviation) <= NO_SPREAD * float(np.abs(values).max()):
            return math.nan
    return float(r @ c) / (norm(r) * norm(c))
