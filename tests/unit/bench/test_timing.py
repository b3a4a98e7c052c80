"""How samples are taken: warm-up forgotten, turns taken in an order that changes, ratios of one round."""

from __future__ import annotations

import gc

import pytest
import torch

from parity.bench.timing import Effort, Timing, in_turns, p95, rounds, steadied, undisturbed
from tests.support.bench_system import Clock


def test_the_warm_up_is_run_and_not_counted() -> None:
    ran: list[int] = []

    def run(number: int) -> int:
        ran.append(number)
        return len(ran)

    assert rounds(run, Effort(warm_up=2, fewest=3, most=3), Clock()) == [3, 4, 5]
    assert ran == [0, 1, 0, 1, 2]


def test_rounds_go_on_while_they_fit_into_the_time() -> None:
    clock = Clock()
    found = rounds(lambda number: clock.spend(2.0), Effort(fewest=3, most=100, seconds=11.0), clock)
    assert len(found) == 5


def test_the_fewest_rounds_are_taken_however_long_they_last() -> None:
    clock = Clock()
    assert len(rounds(lambda number: clock.spend(60.0), Effort(fewest=5, seconds=1.0), clock)) == 5


def test_no_more_than_the_most_rounds_are_taken() -> None:
    assert len(rounds(lambda number: None, Effort(most=7), Clock())) == 7


@pytest.mark.parametrize("effort", [{"warm_up": 0}, {"fewest": 0}, {"fewest": 5, "most": 4}])
def test_an_effort_that_measures_nothing_is_refused(effort: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="measures nothing"):
        Effort(**effort)


def test_turns_change_their_order_and_keep_their_places() -> None:
    ran: list[str] = []

    def run(name: str) -> str:
        ran.append(name)
        return name

    for number in range(3):
        assert in_turns([lambda: run("artifact"), lambda: run("eager")], number) == ["artifact", "eager"]
    assert ran == ["artifact", "eager", "eager", "artifact", "artifact", "eager"]


def test_what_is_short_is_run_several_times_for_a_sample() -> None:
    times = iter([0.009, *[0.0005] * 20])
    assert steadied(lambda: next(times)) == 0.0005
    assert len(list(times)) == 21 - 3


def test_what_takes_no_time_at_all_ends() -> None:
    assert steadied(lambda: 0.0) == 0.0


def test_what_is_long_is_run_once() -> None:
    assert steadied(iter([0.02]).__next__) == 0.02


def test_samples_are_ratios_of_one_round_where_there_is_a_peer() -> None:
    timing = Timing((1.0, 2.0, 6.0), (1.0, 1.0, 2.0))
    assert timing.samples == (1.0, 2.0, 3.0)
    assert (timing.unit, timing.ratio, timing.milliseconds) == ("× eager", 2.0, 2000.0)


def test_samples_are_milliseconds_where_there_is_none() -> None:
    timing = Timing((0.001, 0.002, 0.009))
    assert timing.samples == (1.0, 2.0, 9.0)
    assert (timing.unit, timing.ratio) == ("ms", None)


def test_p95_is_near_the_worst() -> None:
    assert p95([float(value) for value in range(101)]) == 95.0


def test_what_was_set_for_measuring_is_set_back() -> None:
    threads = torch.get_num_threads()

    def interrupted() -> None:
        with undisturbed(1):
            assert not gc.isenabled()
            assert torch.get_num_threads() == 1
            raise RuntimeError("meanwhile")

    with pytest.raises(RuntimeError, match="meanwhile"):
        interrupted()
    assert gc.isenabled()
    assert torch.get_num_threads() == threads
