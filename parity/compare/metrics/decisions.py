"""Metrics of decisions: durations, stops, the frames that a cache keeps, and stretches of speech."""

from __future__ import annotations

import math

import numpy as np

from parity.compare.metrics.registry import Array, metric


@metric(kinds=("durations",), better="higher", ideal=1.0, floor=0.0, limit=0.5)
def frames_equal(reference: Array, candidate: Array) -> float:
    """Return the share of durations that give the same number of frames, from 0 to 1.

    Durations, predicted or already whole, are rounded half to even, as torch.round does upstream, and are at least 1; a
    port that rounds half up differs on ties only. Blind to whatever the rounding takes away.
    """
    return float(np.mean(_frames(reference) == _frames(candidate)))


def _frames(durations: Array) -> Array:
    return np.asarray(np.maximum(np.rint(durations), 1.0))


@metric(kinds=("margin",), better="higher", ideal=1.0, floor=0.0, limit=0.5, blind_to=("gain", "spike"))
def signs_equal(reference: Array, candidate: Array) -> float:
    """Return the share of margins on the same side of zero, from 0 to 1: of decisions that come out as upstream's.

    A margin is the distance of a logit from its threshold. Blind to whatever moves a margin and leaves it on its side.
    """
    return float(np.mean((reference > 0) == (candidate > 0)))


# At 1 a decision turns over.
@metric(kinds=("margin",), better="lower", ideal=0.0, floor=1e-2, limit=1.0, blind_to=("gain", "spike"))
def margin_used(reference: Array, candidate: Array) -> float:
    """Return the largest share of any margin that the error has used up, from 0 up; 1 turns the decision over.

    Only an error towards zero counts. A margin of exactly zero is used up by any error.
    """
    none = reference == 0
    used = 1 - candidate / np.where(none, 1.0, reference)
    return float(np.where(none, candidate != 0, np.maximum(used, 0.0)).max(initial=0.0))


# The only metric of its kind: where one more frame is kept, all slots behind it hold another one, so that counting
# equal slots would say nothing.
@metric(kinds=("kept",), better="higher", ideal=1.0, floor=3e-2, limit=0.5)
def frames_kept(reference: Array, candidate: Array) -> float:
    """Return the frames that both keep as a share of those that either keeps, at the worst call, from 0 to 1.

    The last axis is the slots of a call; an empty slot is negative. A frame that is kept twice counts twice. Blind to
    the order of the slots, in which one frame more would move all that follow; the contents of the slots show it.
    """
    calls = (values.reshape(-1, values.shape[-1]) for values in (reference, candidate))
    return min(_shared(expected, actual) for expected, actual in zip(*calls, strict=True))


def _shared(expected: Array, actual: Array) -> float:
    kept = np.concatenate([expected[expected >= 0], actual[actual >= 0]])
    _, which = np.unique(kept, return_inverse=True)
    ours = int((expected >= 0).sum())
    first, second = (np.bincount(part, minlength=len(kept)) for part in (which[:ours], which[ours:]))
    either = int(np.maximum(first, second).sum())
    return int(np.minimum(first, second).sum()) / either if either else 1.0


# A detector decides once in a frame, of which 32 ms are common. Half a second is a word.
@metric(kinds=("segments",), better="lower", ideal=0.0, floor=0.032, limit=0.5, unit="s")
def edge_shift(reference: Array, candidate: Array, sample_rate: float) -> float:
    """Return how far the edge of any stretch is from the reference's, in seconds, from 0 up.

    A row is the first and the last sample of a stretch; those behind the last stretch are negative. NaN where the two
    have different numbers of stretches, which no distance of edges could tell.
    """
    expected, actual = (values[values.min(axis=-1) >= 0] for values in (reference, candidate))
    if expected.shape != actual.shape:
        return math.nan
    return float(np.abs(expected - actual).max(initial=0.0)) / sample_rate
