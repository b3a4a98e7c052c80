"""A line now and then about how far a long run is."""

from __future__ import annotations

import time
from pathlib import Path

from tests.conformance import records
from tests.conformance.records import FAILED, PASSED

_EVERY = 15.0


class Progress:
    """Counts the records in a growing file."""

    def __init__(self, results: Path, total: int, ids: set[str]) -> None:
        self.results, self.total, self.ids = results, total, ids
        self.started = time.monotonic()
        self.at_start = len(records.latest(results).keys() & ids)
        self.shown = self.started

    def show(self, last: bool = False) -> None:
        now = time.monotonic()
        if now - self.shown < _EVERY and not last:
            return
        self.shown = now
        found = [record for test_id, record in records.latest(self.results).items() if test_id in self.ids]
        passed = sum(record.status == PASSED for record in found)
        failed = sum(record.status == FAILED for record in found)
        new = len(found) - self.at_start
        seconds = now - self.started
        left = (self.total - len(found)) * seconds / new if new else 0.0
        others = len(found) - passed - failed
        print(
            f"[{len(found)}/{self.total}] {passed} passed, {failed} failed, {others} not executed; "
            f"{new / max(seconds, 1e-9):.1f} tests/s, {left / 60:.0f} min left",
            flush=True,
        )
