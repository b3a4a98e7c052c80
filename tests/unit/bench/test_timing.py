"""How samples are taken: warm-up forgotten, turns taken in an order that changes, ratios of one round."""

from __future__ import annotations

import gc
from functools import partial

import pytest
import torch

from parity.bench.timing import Effort, Timing, in_turns, rounds, steadied, undisturbed
from tests.support.bench_system import Clock


def seconds_of(clock: Clock, effort: Effort, seconds: float) -> int:
    """How many rounds of this length are made."""
    return len(rounds(lambda number: clock.spend(seconds), effort, lambda found: len(found) >= effort.samples, clock))


@pytest.mark.parametrize(
    ("seconds", "made"), [(2.0, 5), (60.0, 3), (0.0, 20)], ids=["while they fit", "the fewest", "the most"]
)
def test_rounds_follow_from_the_time(seconds: float, made: int) -> None:
    assert seconds_of(Clock(), Effort(seconds=11.0, samples=3), seconds) == made


def test_rounds_are_numbered() -> None:
    assert rounds(lambda number: number, Effort(samples=1, most=3), lambda found: True, Clock()) == [0, 1, 2]


def test_turns_change_their_order_and_keep_their_places() -> None:
    ran: list[str] = []

    def run(name: str) -> str:
        ran.append(name)
        return name

    contenders = {name: partial(run, name) for name in ("artifact", "other", "eager")}
    for number in range(3):
        assert list(in_turns(contenders, number).values()) == ["artifact", "other", "eager"]
    assert ran == "artifact other eager other eager artifact eager artifact other".split()


def test_what_is_short_is_run_several_times_for_a_sample() -> None:
    times = iter([0.009, *[0.0005] * 20])
    assert steadied(lambda: (next(times), "result")) == (0.0005, "result")
    assert len(list(times)) == 21 - 3


def test_what_takes_no_time_at_all_ends() -> None:
    assert steadied(lambda: (0.0, None)) == (0.0, None)


def test_what_is_long_is_run_once() -> None:
    assert steadied(iter([(0.02, "result")]).__next__) == (0.02, "result")


def test_samples_are_ratios_where_there_is_a_peer_and_else_milliseconds() -> None:
    timing = Timing((1.0, 2.0, 6.0), (1.0, 2.0, 3.0))
    assert timing.samples == (1.0, 2.0, 3.0)
    assert (timing.unit, timing.ratio, timing.milliseconds) == ("× eager", 2.0, 2000.0)
    alone = Timing((0.001, 0.002, 0.009))
    assert alone.samples == (1.0, 2.0, 9.0)
    assert (alone.unit, alone.ratio) == ("ms", None)


def test_what_was_set_for_measuring_is_set_back() -> None:
    threads = torch.get_num_threads()

    def interrupted() -> None:
        with undisturbed():
            assert not gc.isenabled()
            assert torch.get_num_threads() == 1
            raise RuntimeError("meanwhile")

    with pytest.raises(RuntimeError, match="meanwhile"):
        interrupted()
    assert gc.isenabled()
    assert torch.get_num_threads() == threads
