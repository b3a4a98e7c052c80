from __future__ import annotations

from parity.compare.metrics.activity import COLLAR, delta
from parity.compare.metrics.registry import Array, metric


@metric(better="lower", ideal=0.0, blind_to=("shift",))
def der_delta_collar(reference: Array, candidate: Array, sample_rate: float, turns: Array) -> float:
    """The same but for 0.25 s on either side of the edges of who really spoke, as the field usually reports it.

    Blind to edges that move by less than the collar, and to errors that make up for each other.
    """
    return delta(reference, candidate, sample_rate, turns, COLLAR)
