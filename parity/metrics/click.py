from __future__ import annotations

import math

import numpy as np

from parity.metrics.registry import Array, metric


@metric(better="near", ideal=1.0, blind_to=("offset", "shift", "sign", "half"))
def click(reference: Array, candidate: Array) -> float:
    """The largest step from one sample to the next, against the reference's: a seam that clicks reads above 1.

    Blind to everything but the steepest place.
    """
    expected, actual = (float(np.abs(np.diff(values, axis=-1)).max(initial=0.0)) for values in (reference, candidate))
    return actual / expected if expected else math.nan
