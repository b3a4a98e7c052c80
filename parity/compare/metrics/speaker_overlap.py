from __future__ import annotations

import numpy as np

from parity.compare.metrics.activity import active
from parity.compare.metrics.registry import Array, metric


@metric(better="higher", ideal=1.0)
def speaker_overlap(reference: Array, candidate: Array) -> float:
    """The frames in which both have a speaker active, as a share of those in which either has, for the worst speaker.

    A speaker who is active in neither agrees. One who hardly speaks counts as much as any other.
    """
    expected, actual = active(reference), active(candidate)
    both, either = (expected & actual).sum(axis=0), (expected | actual).sum(axis=0)
    return float(np.where(either == 0, 1.0, both / np.maximum(either, 1)).min())
