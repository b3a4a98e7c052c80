"""The tensors that moved between two recordings of a case, and by how much; the report of a refresh."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from parity.base.arithmetic import distance
from parity.declarations import Golden
from parity.golden.lock import CaseEntry, Entry, foreign, summary
from parity.golden.recording import Place, arrays, sketch

Status = Literal["same", "new", "moved", "moved by rounding", "gone"]


@dataclass(frozen=True)
class Movement:
    """One tensor that is no longer bit for bit what it was.

    `rounding`: it is still the same truth, as another machine computes it. `samples` is 0 where all values were
    compared, else the number of those that the sketch has. `nonfinite`: the recorded values that are NaN or infinite;
    distances leave them out where the new ones are the same.
    """

    place: Place
    fault: str = ""
    relative_l2: float = math.inf
    max_abs: float = math.inf
    samples: int = 0
    rounding: bool = False
    nonfinite: int = 0

    def __str__(self) -> str:
        if self.fault:
            return f"{self.place}: {self.fault}"
        note = f", on {self.samples:,} samples" if self.samples else ""
        note += f", without {self.nonfinite:,} that are not finite" if self.nonfinite else ""
        note += ", rounding" if self.rounding else ""
        return f"{self.place}: relative L2 {self.relative_l2:.3g}, max abs {self.max_abs:.3g}{note}"


@dataclass(frozen=True)
class CaseReport:
    """The outcome for one case. It moved by rounding if another machine's rounding explains all that moved."""

    case: str
    status: Status
    movements: tuple[Movement, ...] = ()
    tensors: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        if self.status == "gone":
            return f"{self.case}: recorded, but no longer declared"
        if not self.movements:
            what = "recorded for the first time" if self.status == "new" else "the same bits as recorded"
            return f"{self.case}: {what}, {self.tensors} tensors, {self.seconds:.1f} s"
        only = ", by rounding only" if self.status == "moved by rounding" else ""
        head = f"{self.case}: {len(self.movements)} of {self.tensors} tensors moved{only}, {self.seconds:.1f} s"
        return "\n".join([head, *(f"    {movement}" for movement in self.movements)])


@dataclass(frozen=True)
class Report:
    """The outcome for one reference; `provenance` names its parts that changed since the last refresh."""

    system: str
    cases: tuple[CaseReport, ...]
    provenance: tuple[str, ...] = ()
    written: bool = False

    @property
    def same(self) -> bool:
        """True if all bits are the same; false where nothing was compared."""
        return {case.status for case in self.cases} == {"same"}

    @property
    def same_truth(self) -> bool:
        """True if everything is the same up to rounding."""
        return bool(self.cases) and {case.status for case in self.cases} <= {"same", "moved by rounding"}

    def __str__(self) -> str:
        told = Counter(case.status for case in self.cases)
        counts = [f"{told[status]} {status}" for status in get_args(Status) if told[status]]
        lines = [f"{self.system}: {len(self.cases)} cases: {', '.join(counts)}"]
        if self.provenance:
            lines.append(f"  since the last refresh: {summary(self.provenance)}")
        elif told["moved"]:
            lines.append("  nothing that the lock names has changed: is the reference deterministic?")
        if told["moved by rounding"]:
            lines.append("  what moved by rounding only stays as it was recorded")
        return "\n".join(lines)


def movements(entry: CaseEntry, kept: Mapping[str, np.ndarray], before: Golden | None, after: Golden) -> list[Movement]:
    """Return the tensors that moved, in the order of the data. One that passes from stage to stage counts once.

    Args:
        entry: The recorded case, as the lock has it.
        kept: What git has of its tensors.
        before: Its complete recording, where this machine has one.
        after: The new recording.
    """
    whole = arrays(before) if before else {}
    found = []
    seen: set[tuple[str, int]] = set()
    for place, was, now in entry.differing(after):
        if was is None or now is None:
            found.append(Movement(place, "is gone" if now is None else "is new"))
        elif (pair := (was.sha256, id(now))) not in seen:
            seen.add(pair)
            found.append(_movement(place, was, kept.get(was.sha256), whole.get(was.sha256), now))
    return found


def _movement(place: Place, was: Entry, kept: np.ndarray | None, whole: np.ndarray | None, now: np.ndarray) -> Movement:
    if now.shape != was.shape or now.dtype.name != was.dtype:
        return Movement(place, f"{now.dtype.name}{list(now.shape)}, it was {was.dtype}{list(was.shape)}")
    if whole is None and was.in_git:
        whole = kept
    before, after = (kept, sketch(now)) if whole is None else (whole, now)
    if before is None:
        return Movement(place, "differs; of its recorded values, only the hash is left")
    rounding = kept is not None and not foreign(was, kept, now)
    apart, samples = distance(before, after), before.size if whole is None else 0
    return Movement(place, "", apart.relative_l2, apart.max_abs, samples, rounding, was.nonfinite)
