"""Metrics of plain values: direction, scale and the largest difference of any two arrays."""

from __future__ import annotations

import math

import numpy as np

from parity.base.arithmetic import distance, norm, rms
from parity.compare.metrics.registry import ABSOLUTE, SCALE, SHAPE, Array, metric

ENVELOPE_WINDOWS = 64


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
