"""Turns: rows of beginning and end in seconds and the speaker's number, in place of a mask of frames by speakers."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Turns = NDArray[np.float64]


def turns(mask: ArrayLike, rate: float) -> Turns:
    """Return every stretch in which a speaker is active, in the order of time; `rate` is frames per second."""
    active = np.asarray(mask, np.bool_)
    if active.ndim != 2:
        raise ValueError(f"a mask of the shape {active.shape} where (frames, speakers) is expected")
    steps = np.diff(active.T.astype(np.int8), axis=1, prepend=0, append=0)
    speakers, begins = np.nonzero(steps == 1)
    _, ends = np.nonzero(steps == -1)
    return ordered(np.column_stack([begins / rate, ends / rate, speakers]))


def merged(turns: ArrayLike) -> Turns:
    """Return the turns with those of one speaker that overlap or touch made one."""
    known = checked(turns)
    rows: list[list[float]] = []
    for begin, end, speaker in known[np.lexsort((known[:, 0], known[:, 2]))].tolist():
        if rows and rows[-1][2] == speaker and begin <= rows[-1][1]:
            rows[-1][1] = max(rows[-1][1], end)
        else:
            rows.append([begin, end, speaker])
    return ordered(np.array(rows).reshape(-1, 3))


def ordered(turns: Turns) -> Turns:
    return turns[np.lexsort((turns[:, 2], turns[:, 0]))]


def checked(turns: ArrayLike) -> Turns:
    """Return the turns as float64, or raise a ValueError for anything else."""
    array = np.asarray(turns, np.float64)
    if array.ndim != 2 or array.shape[1] != 3:
        raise ValueError(f"turns of the shape {array.shape}: a row is beginning, end and speaker, so (turns, 3)")
    begins, ends, speakers = array.T
    for wrong, why in (
        (~np.isfinite(array).all(axis=1), "is not finite"),
        (begins < 0, "begins before the recording"),
        (ends <= begins, "ends no later than it begins"),
        ((speakers < 0) | (speakers != np.rint(speakers)), "is of a speaker that is not a number from 0 on"),
    ):
        if wrong.any():
            row = int(np.argmax(wrong))
            raise ValueError(f"turn {row}, {array[row].tolist()}, {why}")
    return array
