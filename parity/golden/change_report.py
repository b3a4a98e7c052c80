"""Report of a refresh, a diff or a verification."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from parity.golden.changes import Movement
from parity.golden.provenance import summary

Status = Literal["new", "same", "moved", "gone"]


@dataclass(frozen=True)
class CaseReport:
    case: str
    status: Status
    movements: tuple[Movement, ...]
    tensors: int
    seconds: float

    @property
    def rounding(self) -> bool:
        """True if another machine's rounding explains all that moved."""
        return self.status == "moved" and all(movement.rounding for movement in self.movements)

    @property
    def changed(self) -> bool:
        """True if recorded values change for another reason than rounding."""
        return self.status == "gone" or (self.status == "moved" and not self.rounding)

    def __str__(self) -> str:
        if self.status == "gone":
            return f"{self.case}: recorded, but no longer declared"
        if self.status != "moved":
            what = "recorded for the first time" if self.status == "new" else "the same bits as recorded"
            return f"{self.case}: {what}, {self.tensors} tensors, {self.seconds:.1f} s"
        count = f"{len(self.movements)} of {self.tensors} tensors moved"
        head = f"{self.case}: {count}{', by rounding only' if self.rounding else ''}, {self.seconds:.1f} s"
        return "\n".join([head, *(f"    {movement}" for movement in self.movements)])


@dataclass(frozen=True)
class Report:
    """The outcome for one reference; `provenance` names its parts that changed since the last refresh."""

    system: str
    cases: tuple[CaseReport, ...]
    provenance: tuple[str, ...] = ()
    in_git: int = 0
    written: bool = False

    @property
    def same(self) -> bool:
        """True if all bits are the same; false where nothing was compared."""
        return bool(self.cases) and all(case.status == "same" for case in self.cases)

    @property
    def same_truth(self) -> bool:
        """True if everything is the same up to rounding."""
        return bool(self.cases) and all(case.status == "same" or case.rounding for case in self.cases)

    def __str__(self) -> str:
        told = Counter("moved by rounding" if case.rounding else case.status for case in self.cases)
        order = ("same", "new", "moved", "moved by rounding", "gone")
        counts = [f"{told[status]} {status}" for status in order if told[status]]
        lines = [f"{self.system}: {len(self.cases)} cases: {', '.join(counts)}"]
        if self.provenance:
            lines.append(f"  since the last refresh: {summary(self.provenance)}")
        elif any(case.status == "moved" and case.changed for case in self.cases):
            lines.append("  nothing that the lock names has changed: is the reference deterministic?")
        if any(case.rounding for case in self.cases):
            lines.append("  what moved by rounding only stays as it was recorded")
        return "\n".join(lines)
