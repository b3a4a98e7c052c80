"""The diarization error rate and what it is made of, over ticks of 10 ms."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from references.sortformer.labels import Mask, turns


@dataclass(frozen=True)
class Errors:
    """In ticks of speech: what was said, missed, invented, and given to somebody else."""

    speech: int
    missed: int
    false_alarm: int
    confusion: int

    @property
    def rate(self) -> float:
        """DER. Without any speech to find, it is 0 where none was found, else infinite."""
        wrong = self.missed + self.false_alarm + self.confusion
        return wrong / self.speech if self.speech else float("inf") if wrong else 0.0

    def __add__(self, other: Errors) -> Errors:
        return Errors(
            self.speech + other.speech,
            self.missed + other.missed,
            self.false_alarm + other.false_alarm,
            self.confusion + other.confusion,
        )

    def __str__(self) -> str:
        parts = [part / max(1, self.speech) for part in (self.missed, self.false_alarm, self.confusion)]
        return f"{self.rate:.2%} (missed {parts[0]:.2%}, false alarm {parts[1]:.2%}, confusion {parts[2]:.2%})"


def errors(wanted: Mask, found: Mask, collar: float) -> Errors:
    """Of one meeting, with the mapping of speakers that does best. For so many seconds on either side of every
    beginning and end of a wanted turn, nothing is judged; half of what pyannote.metrics calls its collar."""
    if wanted.shape[0] != found.shape[0]:
        raise ValueError(f"{found.shape[0]} ticks to judge against {wanted.shape[0]}")
    judged = _judged(wanted, round(collar * 100))
    wanted, found = wanted[judged], found[judged]
    together: NDArray[np.int64] = wanted.astype(np.int64).T @ found.astype(np.int64)
    rows, columns = linear_sum_assignment(-together)
    right = int(together[rows, columns].sum())
    said, heard = wanted.sum(axis=1), found.sum(axis=1)
    return Errors(
        speech=int(said.sum()),
        missed=int(np.maximum(said - heard, 0).sum()),
        false_alarm=int(np.maximum(heard - said, 0).sum()),
        confusion=int(np.minimum(said, heard).sum()) - right,
    )


def _judged(wanted: Mask, collar: int) -> Mask:
    judged = np.ones(len(wanted), np.bool_)
    for speaker in range(wanted.shape[1]):
        for edge in (edge for turn in turns(wanted[:, speaker]) for edge in turn):
            judged[max(0, edge - collar) : edge + collar] = False
    return judged


def total(every: Iterable[Errors]) -> Errors:
    return sum(every, Errors(0, 0, 0, 0))
