"""A gate that catches everything is no gate: the artifacts as they ship pass, time after time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from parity.cache import Cache
from parity.checks import SHIPS
from parity.suite import Suite

TIMES = 20


def test_what_ships_passes_twenty_times_out_of_twenty(suite: Suite, tmp_path: Path) -> None:
    """The chain runs every artifact that ships. Measured afresh each time: only the artifacts come from the cache."""
    check = next(check for check in suite.plan() if check.mode == "chained" and check.variant == SHIPS)
    bench = suite.workbench(check)
    verdicts = [replace(bench, cache=Cache(tmp_path / str(time))).run(check) for time in range(TIMES)]
    assert [verdict.passed for verdict in verdicts] == [True] * TIMES
    assert not any(verdict.reused for verdict in verdicts)
