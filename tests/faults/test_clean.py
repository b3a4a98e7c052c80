"""A gate that catches everything is not a gate: the artifacts as they ship pass, time after time, step after step."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from parity.base.cache import Cache
from parity.base.libraries import threads
from parity.plan.checks import SHIPS
from parity.record.suite import Suite
from parity.run import stepping
from parity.run.runtime import Crosser
from parity.verdict import Check, Mode

TIMES = 20
MEBIBYTE = 1 << 20


def times_passed(suite: Suite, check: Check, folder: Path) -> list[bool]:
    """Measured afresh each time: only the artifacts come from the cache."""
    bench = suite.workbench(check)
    verdicts = [replace(bench, cache=Cache(folder / str(time))).run(check) for time in range(TIMES)]
    assert not any(verdict.reused for verdict in verdicts)
    return [verdict.passed for verdict in verdicts]


def test_what_ships_passes_twenty_times_out_of_twenty(suite: Suite, tmp_path: Path) -> None:
    """The chain runs every artifact that ships, of the system whose chain is the shortest."""
    chains = (check for check in suite.plan() if check.mode == "chained" and check.variant == SHIPS)
    check = next(check for check in chains if check.system == "silero_vad")
    assert times_passed(suite, check, tmp_path) == [True] * TIMES


def step_in_half(mode: Mode) -> Check:
    return Check(
        system="pocket_tts_2m",
        stage="flowlm_step",
        variant="fp16",
        case="hello",
        mode=mode,
        runtime="milrun",
        numerics="declared",
    )


def test_what_carries_its_state_passes_twenty_times_out_of_twenty(suite: Suite, tmp_path: Path) -> None:
    check = step_in_half("carried")
    with threads(1):
        assert times_passed(suite, check, tmp_path) == [True] * TIMES


def resident() -> int:
    """Bytes of this process that are in memory now."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        pytest.skip("only Linux tells what is resident now, and not just the most that ever was")
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_memory_stays_flat_over_a_thousand_steps(suite: Suite) -> None:
    check = step_in_half("forced")
    bench = suite.workbench(check)
    stage = bench.system.stage(check.stage)
    variant = stage.variant(check.variant)
    golden = bench.goldens.load(bench.system.reference.case(check.case))[stage.name]
    first = next(stepping.crossings(stage, golden)).inputs
    resident()
    with threads(1), closing(bench.session(stage, variant)) as session:
        cross, given, early = Crosser(stage, variant, session), first, 0
        for step in range(1, 1001):
            outputs = cross(given)
            given = {**first, **{source: outputs[name] for name, source in stage.carries.items()}}
            if given["position0"].item() == 512:
                given = first
            if step == 200:
                early = resident()
        assert resident() - early < 2 * MEBIBYTE
