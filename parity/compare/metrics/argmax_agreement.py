from __future__ import annotations

import numpy as np

from parity.compare.metrics.activity import frames
from parity.compare.metrics.registry import Array, metric


@metric(better="higher", ideal=1.0, blind_to=("gain", "offset"))
def argmax_agreement(reference: Array, candidate: Array) -> float:
    """The share of frames whose loudest speaker is the same, of those in which the reference has any at all.

    Blind to whatever leaves the loudest the loudest: to speech that falls under the threshold, and to all but one where
    several speak at once. Frames of padding, all zero in the reference, are left out.
    """
    expected, actual = frames(reference), frames(candidate)
    spoken = (expected > 0).any(axis=1)
    if not spoken.any():
        return float(not (actual > 0).any())
    return float(np.mean(expected[spoken].argmax(axis=1) == actual[spoken].argmax(axis=1)))
