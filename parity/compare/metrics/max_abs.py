from __future__ import annotations

import numpy as np

from parity.compare.metrics.registry import Array, metric


@metric(better="lower", ideal=0.0)
def max_abs(reference: Array, candidate: Array) -> float:
    """The largest difference of any value."""
    return float(np.abs(candidate - reference).max())
