"""What ships, timed beside eager PyTorch, weighed, and held against budgets and the machine's baseline."""

from typing import Any

import pytest

from parity.bench.benchmarks import Benchmark
from parity.bench.replay import REPLAY
from parity.bench.session import Bench

pytestmark = pytest.mark.bench


@pytest.mark.measures("speed", "load")
@pytest.mark.benchmark(timer=REPLAY.now)
def test_time(case: Benchmark, bench: Bench, benchmark: Any) -> None:
    result = bench.judge(case)
    REPLAY.play(benchmark, *bench.times(case))
    assert result.passed, result.explain()


@pytest.mark.measures("overall", "size", "placement", "complete")
def test_budget(case: Benchmark, bench: Bench) -> None:
    result = bench.judge(case)
    assert result.passed, result.explain()
