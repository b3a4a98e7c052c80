from __future__ import annotations

from parity.compare.metrics.activity import against
from parity.compare.metrics.registry import Array, metric


@metric(better="lower", ideal=0.0, blind_to=("gain", "offset", "sign", "half", "zeros", "spike"))
def confusion(reference: Array, candidate: Array, sample_rate: float) -> float:
    """How much of the speech that the reference finds the candidate gives to somebody else.

    Blind to speech that is missed or invented, and to who is called by which number.
    """
    found = against(reference, candidate, sample_rate)
    return found.share(found.confusion)
