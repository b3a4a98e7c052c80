from __future__ import annotations

from parity.compare.metrics.activity import against
from parity.compare.metrics.registry import Array, metric


@metric(better="lower", ideal=0.0, blind_to=("sign", "half", "zeros"))
def false_alarm(reference: Array, candidate: Array, sample_rate: float) -> float:
    """How much speech the candidate finds beyond the reference's, as a share of that.

    Blind to speech that is missed or given to somebody else. Above 1 where more is invented than was said.
    """
    found = against(reference, candidate, sample_rate)
    return found.share(found.false_alarm)
