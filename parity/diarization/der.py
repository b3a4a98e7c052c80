"""The diarization error rate, as pyannote.metrics has it, and what it is made of."""

from __future__ import annotations

import math
import operator
from dataclasses import astuple, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from parity.diarization.turns import Turns, checked, merged

if TYPE_CHECKING:
    from pyannote.core import Annotation

WINDOW = 60.0
"""pyannote's time grows with the square of how many turns it is given, so it is given a minute after another."""


@dataclass(frozen=True)
class Errors:
    """In seconds: what was said, missed, invented, and given to somebody else. Where several speak, each second of each
    counts."""

    speech: float
    missed: float
    false_alarm: float
    confusion: float

    @property
    def wrong(self) -> float:
        return self.missed + self.false_alarm + self.confusion

    @property
    def rate(self) -> float:
        """DER. Where nothing was said, it is 0 if nothing was found, else infinite."""
        return self.share(self.wrong)

    def share(self, part: float) -> float:
        """Return a part of the errors for each second of speech."""
        return part / self.speech if self.speech else math.inf if part else 0.0

    def __add__(self, other: Errors) -> Errors:
        return Errors(*map(operator.add, astuple(self), astuple(other)))


def errors(reference: Turns, hypothesis: Turns, collar: float, seconds: float) -> Errors:
    """Return the errors on a recording, with the mapping of speakers that does best on all of it.

    Nothing is judged within `collar` seconds of either end of a reference turn. pyannote counts both sides, and calls
    twice as much its collar. Overlapping speech is judged. Turns of one speaker that overlap or touch count as one.
    """
    for what, value in (("collar", collar), ("recording", seconds)):
        if not 0 <= value < math.inf:
            raise ValueError(f"the {what} is {value} seconds: it lasts a finite time")
    return _errors(checked(reference).tobytes(), checked(hypothesis).tobytes(), float(collar), float(seconds))


# Several metrics ask the same of one mask.
@lru_cache(maxsize=8)
def _errors(reference: bytes, hypothesis: bytes, collar: float, seconds: float) -> Errors:
    from pyannote.core import Segment, Timeline
    from pyannote.metrics.diarization import DiarizationErrorRate
    from pyannote.metrics.identification import IdentificationErrorRate

    said, heard = _annotation(reference, "said"), _annotation(hypothesis, "heard")
    metric = DiarizationErrorRate(collar=2 * collar)
    judged = metric.extrude(Timeline([Segment(0, seconds)]), said, 2 * collar)
    if not judged:
        return Errors(0.0, 0.0, 0.0, 0.0)
    # Of the whole recording, for the best of each window would be better than any. Given the mapping, errors add up.
    heard = heard.rename_labels(mapping=metric.optimal_mapping(said, heard, uem=judged))
    parts = IdentificationErrorRate()
    for begin in np.arange(0.0, seconds, WINDOW):
        parts(said, heard, uem=judged.crop(Segment(begin, begin + WINDOW)))
    names = ("total", "missed detection", "false alarm", "confusion")
    return Errors(*(float(parts[name]) for name in names))


def _annotation(turns: bytes, role: str) -> Annotation:
    from pyannote.core import Annotation, Segment

    annotation = Annotation()
    for track, (begin, end, speaker) in enumerate(merged(np.frombuffer(turns).reshape(-1, 3)).tolist()):
        annotation[Segment(begin, end), track] = f"{role} {speaker:.0f}"
    return annotation
