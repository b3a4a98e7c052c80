"""Who is active when, of probabilities or of decisions, and what the diarization error rate says of it.

The last axis is the speakers', whatever is before it are frames; a curve is of one speaker.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from parity.compare.metrics.registry import Array
from parity.diarization.der import Errors, errors
from parity.diarization.turns import turns

THRESHOLD = 0.5
"""Above it a speaker is active."""
COLLAR = 0.25
"""Seconds on either side of an edge that the field usually leaves unjudged."""


def frames(values: Array) -> Array:
    return values.reshape(-1, values.shape[-1] if values.ndim > 1 else 1)


def active(values: Array) -> NDArray[np.bool_]:
    return np.asarray(frames(values) > THRESHOLD)


def against(reference: Array, candidate: Array, rate: float, collar: float = 0.0) -> Errors:
    """What the candidate has wrong where the reference's own decisions are the truth."""
    return compared(turns(active(reference), rate), candidate, rate, collar)


def compared(truth: Array, candidate: Array, rate: float, collar: float = 0.0) -> Errors:
    """What the candidate has wrong, against turns. What they say past its end it has missed."""
    decided = active(candidate)
    seconds = max(len(decided) / rate, float(truth[:, 1].max(initial=0.0)))
    found = errors(truth, turns(decided, rate), collar, seconds)
    # Of turns that are all collar nothing is judged, and nothing is no success.
    return Errors(*[math.nan] * 4) if len(truth) and not found.speech else found


def delta(reference: Array, candidate: Array, rate: float, truth: Array, collar: float = 0.0) -> float:
    """How much higher the candidate's error rate is than the reference's. Both have the same speech to find."""
    before, after = (compared(truth, values, rate, collar) for values in (reference, candidate))
    more = after.wrong - before.wrong
    return after.share(more) if more > 0 or before.speech else 0.0
