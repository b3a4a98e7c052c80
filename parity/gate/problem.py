"""A reason why nothing may be merged."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """A problem that the gate found: the place it is about, and what is wrong there."""

    where: str
    what: str

    def line(self) -> str:
        return f"{self.where}: {self.what}"
