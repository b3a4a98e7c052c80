"""What ships, timed beside what computes the same, weighed, and held against budgets and the machine's baseline."""

from typing import Any

import pytest

from parity.bench.replay import REPLAY
from parity.bench.session import Bench
from parity.bench.subjects import Subject

pytestmark = pytest.mark.bench


@pytest.mark.measures("speed", "load")
@pytest.mark.benchmark(timer=REPLAY.now)
def test_time(subject: Subject, bench: Bench, benchmark: Any) -> None:
    ruling = bench.judge(subject)
    REPLAY.play(benchmark, *bench.times(subject))
    assert ruling.passed, ruling.explain()


@pytest.mark.measures("overall", "size", "placement", "complete")
def test_budget(subject: Subject, bench: Bench) -> None:
    ruling = bench.judge(subject)
    assert ruling.passed, ruling.explain()
