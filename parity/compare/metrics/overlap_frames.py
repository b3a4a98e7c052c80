from __future__ import annotations

from parity.compare.metrics.activity import active
from parity.compare.metrics.registry import Array, metric


@metric(better="lower", ideal=0.0, blind_to=("shift", "order"))
def overlap_frames(reference: Array, candidate: Array) -> float:
    """By how many the frames in which two or more speak differ, as a share of all frames.

    Blind to where these frames are, and to who speaks in them.
    """
    expected, actual = (float((active(values).sum(axis=1) >= 2).mean()) for values in (reference, candidate))
    return abs(actual - expected)
