from __future__ import annotations

from parity.compare.metrics.activity import against
from parity.compare.metrics.registry import Array, metric


@metric(better="lower", ideal=0.0)
def der(reference: Array, candidate: Array, sample_rate: float) -> float:
    """The diarization error rate against what the reference decides, without a collar.

    Blind to who is called by which number, as long as it is the same one throughout.
    """
    return against(reference, candidate, sample_rate).rate
