"""Turns as a mask of frames by speakers, to compare them with what made them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from parity.diarization.turns import checked

Mask = NDArray[np.bool_]

_ROUNDING = 1e-9
"""Of a time in frames: what dividing by a rate and multiplying again may cost."""


def mask(turns: ArrayLike, frames: int, rate: float, speakers: int) -> Mask:
    """Return the frames of each speaker: those whose middle is in a turn. Turns past the last frame are ignored."""
    known = checked(turns)
    if len(known) and known[:, 2].max() >= speakers:
        raise ValueError(f"speaker {known[:, 2].max():.0f} has no place in a mask of {speakers} speakers")
    active = np.zeros((frames, speakers), np.bool_)
    edges = np.ceil(known[:, :2] * rate - 0.5 - _ROUNDING).astype(int)
    for (begin, end), speaker in zip(edges, known[:, 2].astype(int), strict=True):
        active[begin:end, speaker] = True
    return active
