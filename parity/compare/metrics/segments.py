"""Metrics of stretches of speech: rows of first and last sample, with negative values behind the last one."""

from __future__ import annotations

import math

import numpy as np

from parity.compare.metrics.registry import Array, metric


# A detector decides once in a frame, of which 32 ms are common. Half a second is a word.
@metric(kinds=("segments",), better="lower", ideal=0.0, floor=0.032, limit=0.5, unit="s")
def edge_shift(reference: Array, candidate: Array, sample_rate: float) -> float:
    """Return how far the edge of any stretch is from the reference's, in seconds, from 0 up.

    NaN where the two have different numbers of stretches, which no distance of edges could tell.
    """
    expected, actual = (values[values.min(axis=-1) >= 0] for values in (reference, candidate))
    if expected.shape != actual.shape:
        return math.nan
    return float(np.abs(expected - actual).max(initial=0.0)) / sample_rate
