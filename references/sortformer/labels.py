"""Who speaks when, as ticks of 10 ms, as the model's frames of 80 ms, and as RTTM."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from references.sortformer.speaking import RATE, TICK

SPEAKERS = 4
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


def rttm(meeting: str, active: Mask) -> str:
    """The ticks of all speakers as RTTM, in the order of time."""
    lines = []
    for speaker in range(active.shape[1]):
        for begin, end in turns(active[:, speaker]):
            time = f"{begin * TICK / RATE:.2f} {(end - begin) * TICK / RATE:.2f}"
            lines.append((begin, f"SPEAKER {meeting} 1 {time} <NA> <NA> s{speaker} <NA> <NA>"))
    return "".join(line + "\n" for _, line in sorted(lines))
