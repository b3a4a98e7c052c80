"""Norms and the correlation, which several metrics share."""

from __future__ import annotations

import math

import numpy as np

from parity.compare.metrics.registry import Array

NO_SPREAD = 1e-12
"""A standard deviation under this share of the largest value is rounding: the values are constant."""


def norm(values: Array) -> float:
    flat = values.reshape(-1)
    return math.sqrt(float(flat @ flat))


def rms(values: Array) -> float:
    return norm(values) / math.sqrt(values.size)


def pearson(reference: Array, candidate: Array) -> float:
    """Return the correlation of two arrays; NaN where one of them is constant."""
    r, c = (values.reshape(-1) - values.mean() for values in (reference, candidate))
    for deviation, values in ((r, reference), (c, candidate)):
        if rms(deviation) <= NO_SPREAD * float(np.abs(values).max()):
            return math.nan
    return float(r @ c) / (norm(r) * norm(c))
