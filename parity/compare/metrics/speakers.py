"""Metrics of speakers: who is active when, and the diarization error rate.

The last axis is the speakers', all axes before it are frames; a curve belongs to one speaker. Values are probabilities
or decisions, and a speaker is active above a half.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from parity.compare.metrics.registry import ACTIVITY, DIARIZATION, Array, metric
from parity.diarization import der as pyannote
from parity.diarization.der import Errors
from parity.diarization.turns import turns as turns_of

THRESHOLD = 0.5
COLLAR = 0.25
"""Seconds on either side of an edge that diarization results usually leave unjudged."""


# In silence nobody is loudest, and rounding decides.
@metric(kinds=("speakers",), better="higher", floor=1e-3, blind_to=("gain", "offset"))
def argmax_agreement(reference: Array, candidate: Array) -> float:
    """Return the share of frames with the same loudest speaker, from 0 to 1.

    Blind to whatever leaves the loudest the loudest: to speech that falls under the threshold, and to all but one where
    several speak at once. Frames of padding, all zero in the reference, are left out.
    """
    expected, actual = frames(reference), frames(candidate)
    spoken = (expected > 0).any(axis=1)
    if not spoken.any():
        return float(not (actual > 0).any())
    return float(np.mean(expected[spoken].argmax(axis=1) == actual[spoken].argmax(axis=1)))


@metric(kinds=ACTIVITY, better="higher", floor=1e-2)
def threshold_agreement(reference: Array, candidate: Array) -> float:
    """Return the share of frames on the same side of the threshold of a half, for the worst speaker, from 0 to 1.

    Nearly blind to a speaker who hardly speaks, whose silence agrees; `speaker_overlap` sees that one.
    """
    return float((active(reference) == active(candidate)).mean(axis=0).min())


@metric(kinds=ACTIVITY, better="higher", floor=3e-2)
def speaker_overlap(reference: Array, candidate: Array) -> float:
    """Return the frames active in both as a share of those active in either, for the worst speaker, from 0 to 1.

    A speaker who is active in neither agrees. One who hardly speaks counts as much as any other.
    """
    expected, actual = active(reference), active(candidate)
    both, either = (expected & actual).sum(axis=0), (expected | actual).sum(axis=0)
    return float(np.where(either == 0, 1.0, both / np.maximum(either, 1)).min())


# A limit of 1 allows no difference at all.
@metric(
    kinds=DIARIZATION,
    better="lower",
    floor=0.0,
    limit=1.0,
    unit="speakers",
    blind_to=("gain", "offset", "shift", "order"),
)
def speaker_count(reference: Array, candidate: Array) -> float:
    """Return the difference in the number of speakers who are ever active, from 0 up.

    Blind to who they are, and to when and how much they speak.
    """
    expected, actual = (int(active(values).any(axis=0).sum()) for values in (reference, candidate))
    return float(abs(actual - expected))


# Meetings hardly have more overlap than the limit.
@metric(kinds=DIARIZATION, better="lower", floor=1e-2, limit=0.1, blind_to=("shift", "order"))
def overlap_frames(reference: Array, candidate: Array) -> float:
    """Return the difference in the share of frames in which two or more speak, from 0 to 1.

    Blind to where these frames are, and to who speaks in them.
    """
    expected, actual = (float((active(values).sum(axis=1) >= 2).mean()) for values in (reference, candidate))
    return abs(actual - expected)


# Silence reads 1. A frame that hangs on rounding is up to half a point of a short meeting.
@metric(kinds=DIARIZATION, better="lower", floor=1e-2)
def der(reference: Array, candidate: Array, sample_rate: float) -> float:
    """Return the diarization error rate against what the reference decides, without a collar, from 0 up.

    Blind to the numbers of the speakers, as long as each keeps one.
    """
    return _against(reference, candidate, sample_rate).rate


@metric(kinds=DIARIZATION, better="lower", floor=1e-2, blind_to=("shift",))
def der_collar(reference: Array, candidate: Array, sample_rate: float) -> float:
    """Return the diarization error rate against what the reference decides, 0.25 s around its edges left out.

    Blind to edges that move by less than the collar, and to turns that are no longer than two of them.
    """
    return _against(reference, candidate, sample_rate, COLLAR).rate


@metric(kinds=DIARIZATION, better="lower", floor=1e-2, blind_to=("gain", "offset", "spike"))
def missed(reference: Array, candidate: Array, sample_rate: float) -> float:
    """Return the share of the reference's speech that the candidate does not find, from 0 to 1.

    Blind to speech that is invented or given to somebody else.
    """
    found = _against(reference, candidate, sample_rate)
    return found.share(found.missed)


@metric(kinds=DIARIZATION, better="lower", floor=1e-2, blind_to=("sign", "half", "zeros"))
def false_alarm(reference: Array, candidate: Array, sample_rate: float) -> float:
    """Return the speech that only the candidate finds as a share of the reference's, from 0 up, above 1 if it is more.

    Blind to speech that is missed or given to somebody else.
    """
    found = _against(reference, candidate, sample_rate)
    return found.share(found.false_alarm)


@metric(kinds=DIARIZATION, better="lower", floor=1e-2, blind_to=("gain", "offset", "sign", "half", "zeros", "spike"))
def confusion(reference: Array, candidate: Array, sample_rate: float) -> float:
    """Return the share of the reference's speech that the candidate gives to another speaker, from 0 to 1.

    Blind to speech that is missed or invented, and to the numbers of the speakers.
    """
    found = _against(reference, candidate, sample_rate)
    return found.share(found.confusion)


# Palettization to six bits was seen to cost 0.009 in published ports.
@metric(kinds=DIARIZATION, better="lower", floor=1e-2, limit=0.2)
def der_delta(reference: Array, candidate: Array, sample_rate: float, turns: Array) -> float:
    """Return the candidate's diarization error rate against the true speakers less the reference's, without a collar.

    Below 0 where the candidate is nearer to the truth. Blind to errors that make up for each other.
    """
    return _delta(reference, candidate, sample_rate, turns)


@metric(kinds=DIARIZATION, better="lower", floor=1e-2, limit=0.2, blind_to=("shift",))
def der_delta_collar(reference: Array, candidate: Array, sample_rate: float, turns: Array) -> float:
    """Return the same as `der_delta`, 0.25 s around the edges of the true turns left out.

    Blind to edges that move by less than the collar, and to errors that make up for each other.
    """
    return _delta(reference, candidate, sample_rate, turns, COLLAR)


def frames(values: Array) -> Array:
    """Return the values as frames by speakers."""
    return values.reshape(-1, values.shape[-1] if values.ndim > 1 else 1)


def active(values: Array) -> NDArray[np.bool_]:
    """Return who is active at which frame, as frames by speakers."""
    return np.asarray(frames(values) > THRESHOLD)


def _against(reference: Array, candidate: Array, rate: float, collar: float = 0.0) -> Errors:
    """Return the candidate's errors where the reference's own decisions are the truth."""
    return _errors(turns_of(active(reference), rate), candidate, rate, collar)


def _errors(truth: Array, candidate: Array, rate: float, collar: float) -> Errors:
    """Return the candidate's errors against turns. Speech past its end is missed."""
    decided = active(candidate)
    seconds = max(len(decided) / rate, float(truth[:, 1].max(initial=0.0)))
    found = pyannote.errors(truth, turns_of(decided, rate), collar, seconds)
    # Of turns that are all collar nothing is judged, and nothing judged must not pass.
    return Errors(*[math.nan] * 4) if len(truth) and not found.speech else found


def _delta(reference: Array, candidate: Array, rate: float, truth: Array, collar: float = 0.0) -> float:
    """Return the candidate's error rate less the reference's. Both have the same speech to find."""
    before, after = (_errors(truth, values, rate, collar) for values in (reference, candidate))
    more = after.wrong - before.wrong
    return after.share(more) if more > 0 or before.speech else 0.0
