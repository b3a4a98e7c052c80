from __future__ import annotations

import numpy as np

from parity.compare.metrics.registry import Array, metric


@metric(better="higher", ideal=1.0)
def equal(reference: Array, candidate: Array) -> float:
    """The share of values that are exactly equal: for integers, whose distance means nothing."""
    return float(np.mean(reference == candidate))
