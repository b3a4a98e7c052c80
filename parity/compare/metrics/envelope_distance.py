from __future__ import annotations

import math

import numpy as np

from parity.compare.metrics.registry import Array, metric

WINDOWS = 64


@metric(better="lower", ideal=0.0, blind_to=("sign",))
def envelope_distance(reference: Array, candidate: Array) -> float:
    """How differently energy runs along the last axis, row by row, in 64 windows, relative to the reference's.

    What is left to compare where phases have drifted apart, as they do in a chain: a harmonic source whose pitch is off
    by a millionth is another waveform after a second, with nearly the same envelope. Blind to signs,
    and less and less sensitive to phases and small shifts the longer the windows are.
    """
    expected, actual = _envelope(reference), _envelope(candidate)
    norm = float(np.linalg.norm(expected))
    return float(np.linalg.norm(actual - expected)) / norm if norm else math.nan


def _envelope(values: Array) -> Array:
    length = values.shape[-1]
    edges = np.unique(np.linspace(0, length, min(WINDOWS, length), endpoint=False).astype(int))
    power = np.add.reduceat(np.square(values), edges, axis=-1)
    return np.asarray(np.sqrt(power / np.diff([*edges, length])))
