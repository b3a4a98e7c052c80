"""Bands of a meeting: for each speaker, when upstream, the artifact and the truth have them speak."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from parity.compare.media import SPEAKERS, Meeting
from parity.diarization import stretches
from parity.diarization.stretches import Stretches
from parity.diarization.turns import Turns


@dataclass(frozen=True)
class Band:
    """One speaker. `real` is what the truth calls them, empty where it has nobody like that."""

    name: str
    reference: Stretches
    candidate: Stretches
    truth: Stretches | None
    real: str = ""

    @cached_property
    def missed(self) -> Stretches:
        return stretches.without(self.reference, self.candidate)

    @cached_property
    def invented(self) -> Stretches:
        return stretches.without(self.candidate, self.reference)


def bands(meeting: Meeting) -> list[Band]:
    """Return a band for each column in which anybody speaks, then those of speakers whom only the truth knows.

    The truth has its own numbers for speakers. Each is assigned to the column of upstream's with most shared time.
    """
    columns = _speakers(meeting.reference, meeting.candidate)
    real = {} if meeting.truth is None else {one: stretches.of(meeting.truth, one) for one in _speakers(meeting.truth)}
    said = {column: stretches.of(meeting.reference, column) for column in columns}
    whose = _fitting(said, real)
    found = []
    for column in columns:
        one = whose.get(column)
        truth = None if meeting.truth is None else stretches.NONE if one is None else real[one]
        heard = stretches.of(meeting.candidate, column)
        found.append(Band(SPEAKERS[column], said[column], heard, truth, "" if one is None else SPEAKERS[one]))
    left = [one for one in real if one not in whose.values()]
    return found + [Band("–", stretches.NONE, stretches.NONE, real[one], SPEAKERS[one]) for one in left]


def lasts(shown: Sequence[Band]) -> float:
    """Return the seconds to the end of the last turn."""
    rows = [part for one in shown for part in (one.reference, one.candidate, one.truth) if part is not None]
    return max((float(part[-1, 1]) for part in rows if len(part)), default=0.0)


def _speakers(*turns: Turns) -> list[int]:
    return sorted({int(speaker) for one in turns for speaker in one[:, 2]})


def _fitting(said: dict[int, Stretches], real: dict[int, Stretches]) -> dict[int, int]:
    """Return the real speaker of each column, so that the shared time is as long as possible."""
    time = np.array([[stretches.shared(one, other) for other in real.values()] for one in said.values()])
    if not time.size:
        return {}
    from scipy.optimize import linear_sum_assignment  # takes a tenth of a second

    columns, speakers = list(said), list(real)
    pairs = zip(*linear_sum_assignment(time, maximize=True), strict=True)
    return {columns[row]: speakers[at] for row, at in pairs if time[row, at] > 0}
