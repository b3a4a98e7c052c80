"""Speakers over time, as ticks of 10 ms and as the model's frames of 80 ms."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TICKS_PER_FRAME = 8
Mask = NDArray[np.bool_]


def frames(ticks: Mask) -> Mask:
    """A frame is somebody's when they speak for half of it or more."""
    count = -(-len(ticks) // TICKS_PER_FRAME)
    padded = np.pad(ticks, ((0, count * TICKS_PER_FRAME - len(ticks)), (0, 0)))
    half: Mask = padded.reshape(count, TICKS_PER_FRAME, -1).mean(axis=1) >= 0.5
    return half


def ticks(frames: Mask, count: int) -> Mask:
    """Frames as that many ticks; what is past the last frame is silence."""
    long = np.repeat(frames, TICKS_PER_FRAME, axis=0)[:count]
    return np.pad(long, ((0, count - len(long)), (0, 0)))


def turns(active: Mask) -> list[tuple[int, int]]:
    """Beginning and end, in ticks, of every stretch in which one speaker is active."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], active.astype(np.int8), [0]])))
    return [(int(begin), int(end)) for begin, end in edges.reshape(-1, 2)]
