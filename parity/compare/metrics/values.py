"""Metrics of plain values, and of the decisions that are made of them.

Of any two arrays: direction, scale and the largest difference. Of decisions: durations, stops, choices among ids, the
frames that a cache keeps, and stretches of speech.
"""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

from parity.base.arithmetic import distance, norm, rms
from parity.compare.metrics.registry import ABSOLUTE, SCALE, SHAPE, Array, metric

ENVELOPE_WINDOWS = 64
BEST = 50
"""Ids of a row that compare: the usual top-k of sampling."""


# Two unrelated tensors without negative values already reach a cosine of a half.
@metric(kinds=SCALE, better="higher", floor=1e-6, blind_to=("gain",))
def cosine(reference: Array, candidate: Array) -> float:
    """Return the cosine of the angle between the two arrays as vectors, from -1 to 1.

    Blind to every gain, and weakly to an offset. A tensor of zeros has no direction: NaN, even against zeros.
    """
    product = norm(reference) * norm(candidate)
    return float(reference.reshape(-1) @ candidate.reshape(-1)) / product if product else math.nan


# Zeros in place of the reference read 1.
@metric(kinds=(*SCALE, "durations", "margin"), better="lower", floor=1e-5, limit=1.0)
def relative_l2(reference: Array, candidate: Array) -> float:
    """Return the norm of the error as a share of the reference's norm, ‖c − r‖ / ‖r‖, from 0 up.

    NaN for a reference of zeros.
    """
    return distance(reference, candidate).relative_l2 if reference.any() else math.nan


@metric(kinds=(*SCALE, "durations"), better="near", ideal=1.0, floor=1e-4, blind_to=("shift", "sign", "order", "phase"))
def rms_ratio(reference: Array, candidate: Array) -> float:
    """Return the rms of the candidate over that of the reference, from 0 up.

    Blind to every fault that keeps the energy: a phase that is lost entirely still reads 1.
    """
    expected = rms(reference)
    return rms(candidate) / expected if expected else math.nan


# Its values are in the tensor's own unit, which no table can know.
@metric(kinds=ABSOLUTE, better="lower", floor=1e-5, limit=math.inf)
def max_abs(reference: Array, candidate: Array) -> float:
    """Return the largest difference of any value, from 0 up, in the tensor's own unit."""
    return float(np.abs(candidate - reference).max())


# Zeros in place of speech read about its crest factor.
@metric(kinds=SHAPE, better="lower", floor=1e-4, limit=4.0)
def max_relative(reference: Array, candidate: Array) -> float:
    """Return the largest difference of any value over the rms of the reference, from 0 up.

    Against the rms, because a difference where the reference crosses zero is not a greater fault.
    """
    expected = rms(reference)
    return float(np.abs(candidate - reference).max()) / expected if expected else math.nan


@metric(kinds=("counter",), better="higher", floor=0.0)
def equal(reference: Array, candidate: Array) -> float:
    """Return the share of values that are exactly equal, from 0 to 1: for integers, whose distance means nothing."""
    return float(np.mean(reference == candidate))


@metric(kinds=("features", "logits"), better="lower", floor=1e-5, limit=1.0, blind_to=("sign",))
def envelope_distance(reference: Array, candidate: Array) -> float:
    """Return the relative L2 of the energy along the last axis, row by row in 64 windows, from 0 up.

    It still compares where phases have drifted apart, as they do in a chain: a harmonic source whose pitch is off by a
    millionth is another waveform after a second, with nearly the same envelope. Blind to signs, and less and less
    sensitive to phases and small shifts the longer the windows are.
    """
    return relative_l2(_envelope(reference), _envelope(candidate))


def _envelope(values: Array) -> Array:
    length = values.shape[-1]
    edges = np.unique(np.linspace(0, length, min(ENVELOPE_WINDOWS, length), endpoint=False).astype(int))
    power = np.add.reduceat(np.square(values), edges, axis=-1)
    return np.asarray(np.sqrt(power / np.diff([*edges, length])))


@metric(kinds=("durations",), better="higher", floor=0.0)
def frames_equal(reference: Array, candidate: Array) -> float:
    """Return the share of durations that give the same number of frames, from 0 to 1.

    Durations, predicted or already whole, are rounded half to even, as torch.round does upstream, and are at least 1; a
    port that rounds half up differs on ties only. Blind to whatever the rounding takes away.
    """
    expected, actual = (np.maximum(np.rint(durations), 1.0) for durations in (reference, candidate))
    return float(np.mean(expected == actual))


@metric(kinds=("margin",), better="higher", floor=0.0, blind_to=("gain", "spike"))
def signs_equal(reference: Array, candidate: Array) -> float:
    """Return the share of margins on the same side of zero, from 0 to 1: of decisions that come out as upstream's.

    A margin is the distance of a logit from its threshold. Blind to whatever moves a margin and leaves it on its side.
    """
    return float(np.mean((reference > 0) == (candidate > 0)))


# At 1 a decision turns over.
@metric(kinds=("margin",), better="lower", floor=1e-2, limit=1.0, blind_to=("gain", "spike"))
def margin_used(reference: Array, candidate: Array) -> float:
    """Return the largest share of any margin that the error has used up, from 0 up; 1 turns the decision over.

    Only an error towards zero counts. A margin of exactly zero is used up by any error.
    """
    none = reference == 0
    used = 1 - candidate / np.where(none, 1.0, reference)
    return float(np.where(none, candidate != 0, np.maximum(used, 0.0)).max(initial=0.0))


# Rounding may swap the last of fifty for the next one.
@metric(kinds=("logits",), better="higher", floor=2e-2, blind_to=("gain", "offset"))
def top_k_overlap(reference: Array, candidate: Array) -> float:
    """Return the share of upstream's 50 best ids that are among the candidate's 50 best, in the worst row, from 0 to 1.

    The last axis is the ids; of fewer than 100, half of them count. Blind to whatever keeps the set of the best, their
    order included.
    """
    count = max(1, min(BEST, reference.shape[-1] // 2))
    best = (np.argsort(-values, axis=-1, kind="stable")[..., :count] for values in (reference, candidate))
    rows = zip(*(found.reshape(-1, count) for found in best), strict=True)
    return min(len(np.intersect1d(expected, actual)) / count for expected, actual in rows)


# At 1 the lead is off by the spread of a whole row.
@metric(kinds=("logits",), better="lower", floor=1e-4, limit=1.0, blind_to=("offset",))
def winner_margin(reference: Array, candidate: Array) -> float:
    """Return the largest change of the lead of upstream's best id, over the spread of its row, from 0 up.

    The lead is the distance to the best of the other ids; it is negative where another id wins. The spread is the
    standard deviation of upstream's row. NaN where a row of upstream's has no spread, or only one id.
    """
    expected, actual = (values.reshape(-1, values.shape[-1]) for values in (reference, candidate))
    if expected.shape[-1] < 2:
        return math.nan
    winner = expected.argmax(-1)[:, None]
    change = _lead(actual, winner) - _lead(expected, winner)
    return float((np.abs(change) / expected.std(-1)).max())


def _lead(scores: Array, winner: np.ndarray) -> Array:
    others = scores.copy()
    np.put_along_axis(others, winner, -np.inf, -1)
    return np.asarray(np.take_along_axis(scores, winner, -1)[:, 0] - others.max(-1))


# The only metric of its kind: where one more frame is kept, all slots behind it hold another one, so that counting
# equal slots would say nothing.
@metric(kinds=("kept",), better="higher", floor=3e-2)
def frames_kept(reference: Array, candidate: Array) -> float:
    """Return the frames that both keep as a share of those that either keeps, at the worst call, from 0 to 1.

    The last axis is the slots of a call; an empty slot is negative. A frame that is kept twice counts twice. Blind to
    the order of the slots, in which one frame more would move all that follow; the contents of the slots show it.
    """
    calls = (values.reshape(-1, values.shape[-1]) for values in (reference, candidate))
    return min(_shared(expected, actual) for expected, actual in zip(*calls, strict=True))


def _shared(expected: Array, actual: Array) -> float:
    first, second = (Counter(slots[slots >= 0].tolist()) for slots in (expected, actual))
    either = (first | second).total()
    return (first & second).total() / either if either else 1.0


# A detector decides once in a frame, of which 32 ms are common. Half a second is a word.
@metric(kinds=("segments",), better="lower", floor=0.032, unit="s")
def edge_shift(reference: Array, candidate: Array, sample_rate: float) -> float:
    """Return how far the edge of any stretch is from the reference's, in seconds, from 0 up.

    A row is the first and the last sample of a stretch; those behind the last stretch are negative. NaN where the two
    have different numbers of stretches, which no distance of edges could tell.
    """
    expected, actual = (values[values.min(axis=-1) >= 0] for values in (reference, candidate))
    if expected.shape != actual.shape:
        return math.nan
    return float(np.abs(expected - actual).max(initial=0.0)) / sample_rate
