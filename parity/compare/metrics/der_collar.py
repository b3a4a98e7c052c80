from __future__ import annotations

from parity.compare.metrics.activity import COLLAR, against
from parity.compare.metrics.registry import Array, metric


@metric(better="lower", ideal=0.0, blind_to=("shift",))
def der_collar(reference: Array, candidate: Array, sample_rate: float) -> float:
    """The diarization error rate against what the reference decides, but for 0.25 s on either side of its edges.

    Blind to edges that move by less than the collar, and to turns that are no longer than two of them.
    """
    return against(reference, candidate, sample_rate, COLLAR).rate
