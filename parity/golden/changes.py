"""What moved between two recordings of a case, and by how much."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from parity.base.distance import distance
from parity.golden.recording import Held, Place, Recording
from parity.golden.sketch import sketch
from parity.golden.tensors import CaseEntry, Entry, foreign


@dataclass(frozen=True)
class Movement:
    """One tensor that is no longer bit for bit what it was.

    `rounding`: it is still the same truth, as another machine computes it. `samples` is 0 where all values were
    compared, else the number of those that the sketch has.
    """

    place: Place
    fault: str = ""
    relative_l2: float = math.inf
    max_abs: float = math.inf
    samples: int = 0
    rounding: bool = False

    def __str__(self) -> str:
        if self.fault:
            return f"{self.place}: {self.fault}"
        note = f", on {self.samples:,} samples" if self.samples else ""
        note += ", rounding" if self.rounding else ""
        return f"{self.place}: relative L2 {self.relative_l2:.3g}, max abs {self.max_abs:.3g}{note}"


def movements(
    entry: CaseEntry, kept: Mapping[str, np.ndarray], before: Recording | None, after: Recording
) -> list[Movement]:
    """In the order of the data. What passes from stage to stage counts where it first stood.

    `kept` is what git has of the case before, `before` its complete recording, where this machine has one.
    """
    expected, actual = dict(entry.places()), dict(after.places())
    whole = {held.sha256: held.array for _, held in before.places()} if before else {}
    found = []
    seen: set[tuple[str, str]] = set()
    for place, was in expected.items():
        if place not in actual:
            found.append(Movement(place, "is gone"))
            continue
        pair = was.sha256, actual[place].sha256
        if was.sha256 != actual[place].sha256 and pair not in seen:
            seen.add(pair)
            found.append(_movement(place, was, kept.get(was.sha256), whole.get(was.sha256), actual[place]))
    return found + [Movement(place, "is new") for place in actual if place not in expected]


def _movement(place: Place, was: Entry, kept: np.ndarray | None, whole: np.ndarray | None, now: Held) -> Movement:
    array = now.array
    if array.shape != was.shape or array.dtype.name != was.dtype:
        return Movement(place, f"{array.dtype.name}{list(array.shape)}, it was {was.dtype}{list(was.shape)}")
    if whole is None and was.in_git:
        whole = kept
    if whole is None and kept is None:
        return Movement(place, "differs; of what it was, only the hash is left")
    rounding = kept is not None and not foreign(was, kept, array)
    if whole is not None:
        apart = distance(whole, array)
        return Movement(place, "", apart.relative_l2, apart.max_abs, 0, rounding)
    assert kept is not None
    apart = distance(kept, sketch(array))
    return Movement(place, "", apart.relative_l2, apart.max_abs, kept.size, rounding)
