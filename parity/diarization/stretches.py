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
    rest: list[tuple[float, float]] = []
    taken, first = other.tolist(), 0
    for begin, end in one.tolist():
        while first < len(taken) and taken[first][1] <= begin:
            first += 1
        at = first
        while at < len(taken) and taken[at][0] < end:
            if begin < taken[at][0]:
                rest.append((begin, taken[at][0]))
            begin, at = taken[at][1], at + 1
        if begin < end:
            rest.append((begin, end))
    return np.array(rest).reshape(-1, 2)


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
