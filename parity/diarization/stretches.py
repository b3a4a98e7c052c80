"""Arithmetic of stretches of time: rows of beginning and end in seconds, in order and apart.

pyannote.core's Timeline has it as well, in quadratic time: an hour that flickers every 80 ms takes it 20 s.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from parity.diarization.turns import Turns, merged

Stretches = NDArray[np.float64]

NONE: Stretches = np.zeros((0, 2))


def of(turns: Turns, speaker: int) -> Stretches:
    """Return when one speaker speaks."""
    return merged(turns[turns[:, 2] == speaker])[:, :2]


def seconds(stretches: Stretches) -> float:
    """Return how long they are together."""
    return float(np.sum(stretches[:, 1] - stretches[:, 0]))


def without(one: Stretches, other: Stretches) -> Stretches:
    """Return the parts of one that are not in the other."""
    edges = np.unique(np.concatenate([one, other], axis=None))
    left = _hold(one, edges[:-1]) & ~_hold(other, edges[:-1])
    steps = np.diff(left.astype(np.int8), prepend=0, append=0)
    return np.column_stack([edges[np.flatnonzero(steps == edge)] for edge in (1, -1)])


def _hold(stretches: Stretches, times: NDArray[np.float64]) -> NDArray[np.bool_]:
    begun, ended = (np.searchsorted(stretches[:, side], times, side="right") for side in (0, 1))
    return np.asarray(begun > ended)


def shared(one: Stretches, other: Stretches) -> float:
    """Return the seconds that are in both."""
    return seconds(one) - seconds(without(one, other))


def within(stretches: Stretches, begin: float, end: float) -> Stretches:
    """Return the parts between two times."""
    clipped = np.clip(stretches, begin, end)
    return clipped[clipped[:, 1] > clipped[:, 0]]


def bridged(stretches: Stretches, gap: float) -> list[Stretches]:
    """Return groups that no more than the gap separates, which is the least that one can see."""
    parted = np.flatnonzero(stretches[1:, 0] - stretches[:-1, 1] > gap) + 1
    return np.split(stretches, parted) if len(stretches) else []


def fullest(stretches: list[Stretches], length: float) -> float:
    """Return where the window of this length begins that holds most of them; they may overlap."""
    rows = np.concatenate([NONE, *stretches])
    if not len(rows):
        return 0.0
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    total = np.concatenate([[0.0], np.cumsum(np.minimum(rows[:, 1] - rows[:, 0], length))])
    last = np.searchsorted(rows[:, 0], rows[:, 0] + length)
    return float(rows[np.argmax(total[last] - total[:-1]), 0])
