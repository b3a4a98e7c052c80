from __future__ import annotations

from parity.compare.metrics.activity import active
from parity.compare.metrics.registry import Array, metric


@metric(better="lower", ideal=0.0, unit="speakers", blind_to=("gain", "offset", "shift", "order"))
def speaker_count(reference: Array, candidate: Array) -> float:
    """By how many the speakers who are ever active differ.

    Blind to who they are, and to when and how much they speak.
    """
    expected, actual = (int(active(values).any(axis=0).sum()) for values in (reference, candidate))
    return float(abs(actual - expected))
