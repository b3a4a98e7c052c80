from __future__ import annotations

from parity.compare.metrics.activity import active
from parity.compare.metrics.registry import Array, metric


@metric(better="higher", ideal=1.0)
def threshold_agreement(reference: Array, candidate: Array) -> float:
    """The share of frames on the same side of the threshold of a half, for the speaker with the fewest.

    Nearly blind to a speaker who hardly speaks, whose silence agrees; the overlap sees that one.
    """
    return float((active(reference) == active(candidate)).mean(axis=0).min())
