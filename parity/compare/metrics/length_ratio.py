from __future__ import annotations

from parity.compare.metrics.registry import FAULTS, Array, metric


@metric(better="near", ideal=1.0, blind_to=FAULTS, any_length=True)
def length_ratio(reference: Array, candidate: Array) -> float:
    """How long the candidate is against the reference, along the last axis.

    Blind to every value: it looks at lengths alone, and is the one metric that takes arrays of different lengths.
    """
    return float(candidate.shape[-1] / reference.shape[-1])
