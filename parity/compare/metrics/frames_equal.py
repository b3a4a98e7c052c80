from __future__ import annotations

import numpy as np

from parity.compare.metrics.registry import Array, metric


@metric(better="higher", ideal=1.0)
def frames_equal(reference: Array, candidate: Array) -> float:
    """The share of durations that give the same number of frames, once rounded half to even and at least 1.

    Half to even because upstream rounds with torch.round; a port that rounds half up differs on ties only. Takes
    durations as they are predicted or as they are rounded. Blind to whatever the rounding takes away.
    """
    return float(np.mean(_frames(reference) == _frames(candidate)))


def _frames(durations: Array) -> Array:
    return np.asarray(np.maximum(np.rint(durations), 1.0))
