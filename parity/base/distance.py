"""The distance of two arrays: the relative L2 that goldens, metrics and blame share, and the largest difference."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_CHUNK = 1 << 15
"""Values at once: float64 copies of a large array would be slow and take its memory several times over."""


@dataclass(frozen=True)
class Distance:
    """Distance of one array from another.

    Attributes:
        relative_l2: The norm of the difference as a share of the norm of the expected array.
        max_abs: The largest difference of any value.
    """

    relative_l2: float
    max_abs: float


def distance(expected: np.ndarray, actual: np.ndarray) -> Distance:
    """Return the distance of two arrays of one shape.

    Non-finite values have to be the same in both arrays, or the distance is infinite. The relative L2 to an array of
    zeros is infinite, unless the other is zeros too.
    """
    difference, norm, largest = 0.0, 0.0, 0.0
    for x, y in _chunks(expected, actual):
        apart = y - x
        more, size = float(apart @ apart), float(x @ x)
        if not math.isfinite(more + size):
            finite = np.isfinite(x)
            if not np.array_equal(np.where(finite, 0.0, x), np.where(np.isfinite(y), 0.0, y), equal_nan=True):
                return Distance(math.inf, math.inf)
            apart, x = apart[finite], x[finite]
            more, size = float(apart @ apart), float(x @ x)
        difference, norm = difference + more, norm + size
        if more:
            largest = max(largest, float(apart.max()), -float(apart.min()))
    if not difference:
        return Distance(0.0, 0.0)
    return Distance(math.sqrt(difference / norm) if norm else math.inf, largest)


def _chunks(expected: np.ndarray, actual: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    one, other = expected.reshape(-1), actual.reshape(-1)
    with np.errstate(all="ignore"):
        for start in range(0, one.size, _CHUNK):
            part = slice(start, start + _CHUNK)
            yield one[part].astype(np.float64), other[part].astype(np.float64)
