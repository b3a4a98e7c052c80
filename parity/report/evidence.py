"""Evidence of a run's checks, in the order in which a page shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from parity.record.run import RunRecord
from parity.report.summary import worst_first
from parity.verdict import Verdict

Evidence = Callable[[str], Path | None]
"""Gives the folder of an evidence key, or None where it is gone."""


def in_order(record: RunRecord, evidence: Evidence) -> Iterator[tuple[Verdict, Path | None]]:
    """Yield each check and the folder of its evidence, failed checks first; shared evidence comes once."""
    seen: set[str] = set()
    for verdict in worst_first(record.verdicts):
        if verdict.evidence and verdict.evidence not in seen:
            seen.add(verdict.evidence)
            yield verdict, evidence(verdict.evidence)
