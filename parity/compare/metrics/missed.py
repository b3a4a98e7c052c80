from __future__ import annotations

from parity.compare.metrics.activity import against
from parity.compare.metrics.registry import Array, metric


@metric(better="lower", ideal=0.0, blind_to=("gain", "offset", "spike"))
def missed(reference: Array, candidate: Array, sample_rate: float) -> float:
    """How much of the speech that the reference finds the candidate does not.

    Blind to speech that is invented or given to somebody else.
    """
    found = against(reference, candidate, sample_rate)
    return found.share(found.missed)
