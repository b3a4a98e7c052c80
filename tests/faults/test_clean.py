"""A gate that catches everything is no gate: the artifacts as they ship pass, time after time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from parity.base.cache import Cache
from parity.base.torch_threads import threads
from parity.plan.checks import SHIPS
from parity.record.suite import Suite
from parity.verdict import Check

TIMES = 20


def times_passed(suite: Suite, check: Check, folder: Path) -> list[bool]:
    """Measured afresh each time: only the artifacts come from the cache."""
    bench = suite.workbench(check)
    verdicts = [replace(bench, cache=Cache(folder / str(time))).run(check) for time in range(TIMES)]
    assert not any(verdict.reused for verdict in verdicts)
    return [verdict.passed for verdict in verdicts]


def test_what_ships_passes_twenty_times_out_of_twenty(suite: Suite, tmp_path: Path) -> None:
    """The chain runs every artifact that ships."""
    check = next(check for check in suite.plan() if check.mode == "chained" and check.variant == SHIPS)
    assert times_passed(suite, check, tmp_path) == [True] * TIMES


def test_what_carries_its_state_passes_twenty_times_out_of_twenty(suite: Suite, tmp_path: Path) -> None:
    check = Check(
        system="pocket_tts_2m",
        stage="flowlm_step",
        variant="fp16",
        case="hello",
        mode="carried",
        runtime="milrun",
        numerics="declared",
    )
    with threads(1):
        assert times_passed(suite, check, tmp_path) == [True] * TIMES
