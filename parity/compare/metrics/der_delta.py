from __future__ import annotations

from parity.compare.metrics.activity import delta
from parity.compare.metrics.registry import Array, metric


@metric(better="lower", ideal=0.0)
def der_delta(reference: Array, candidate: Array, sample_rate: float, turns: Array) -> float:
    """By how much the diarization error rate against who really spoke is higher than the reference's, without a collar.

    Below 0 where the candidate is nearer to the truth. Blind to errors that make up for each other.
    """
    return delta(reference, candidate, sample_rate, turns)
