"""How a system is timed: its artifacts in turns with PyTorch, and every round's outputs looked at."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from parity.bench.timer import Measured, SystemTimer
from parity.bench.timing import Effort
from parity.plan.checks import CHAIN
from tests.support.bench_system import REFERENCE, World

HELLO = REFERENCE.cases[0]
EFFORT = Effort(seconds=0.0, samples=5)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tmp_path)
    made.settle(monkeypatch)
    return made


def timer(world: World, timed: tuple[str, ...] = ("encoder", "decoder")) -> SystemTimer:
    return SystemTimer(world.workbench(), EFFORT, world.clock, lambda case: timed)


def measured(world: World, timed: tuple[str, ...] = ("encoder", "decoder")) -> Measured:
    return timer(world, timed).measured(HELLO)


def faults(world: World) -> list[str]:
    return [fault.output for fault in measured(world).faults(world.workbench())]


def test_each_stage_and_the_chain_are_timed(world: World) -> None:
    found = measured(world)
    assert {name: len(timing.seconds) for name, timing in found.timings.items()} == dict.fromkeys(found.timings, 5)
    assert found.timings["decoder"].milliseconds == pytest.approx(100)
    assert found.timings["decoder"].ratio == pytest.approx(1.25)


def test_the_chain_is_its_stages_and_the_host(world: World) -> None:
    chain = measured(world).timings[CHAIN]
    assert chain.milliseconds == pytest.approx(20 + 100 + 10)
    assert chain.ratio == pytest.approx(130 / 110)


def test_sizes_audio_and_rtfx_come_from_what_went_through(world: World) -> None:
    found = measured(world)
    assert (found.times.sizes, found.times.t_enc, found.times.audio_seconds) == ({"frames": 12}, 12, 0.12)
    assert found.times.rtfx == pytest.approx(0.12 / 0.13)


def test_artifact_and_eager_take_turns_and_begin_in_turns(world: World) -> None:
    measured(world)
    turns = [" ".join(world.log[at : at + 2]) for at in range(0, len(world.log), 2)]
    first, second = "artifact encoder eager encoder", "eager encoder artifact encoder"
    # The warm-up is number 0, as is the first round that counts.
    assert [turn for turn in turns if "encoder" in turn] == [first, first, second, first, second, first]


def test_on_a_device_nothing_runs_beside_the_artifact(world: World) -> None:
    world.runtime = "coreml"
    found = measured(world)
    assert not any(line.startswith("eager") for line in world.log)
    assert found.timings["decoder"].unit == "ms"


def test_the_cold_start_is_apart_from_the_rest(world: World) -> None:
    world.load = 0.25
    one = timer(world)
    decoder = world.system.stage("decoder")
    assert one.loads(decoder) == (0.25, 0.25, 0.25)
    assert "decoder" not in one.first_runs
    world.artifact["decoder"] = 0.3
    one.measured(HELLO)
    assert one.first_runs["decoder"] == pytest.approx(0.3)


def test_what_was_loaded_is_closed(world: World) -> None:
    one = timer(world)
    one.measured(HELLO)
    assert world.open == 2
    one.close()
    assert world.open == 0


def test_right_outputs_have_no_faults(world: World) -> None:
    assert faults(world) == []


def test_a_fast_artifact_that_computes_something_else_is_caught(world: World) -> None:
    world.artifact["decoder"] = 0.001
    world.bend = lambda stage, run, value: value * 1.05 if stage == "decoder" else value
    assert faults(world) == ["decoder.audio"]


@pytest.mark.parametrize("run", range(6))
def test_an_output_that_goes_wrong_in_any_round_is_caught(world: World, run: int) -> None:
    world.bend = lambda stage, number, value: np.zeros_like(value) if number == run and stage == "decoder" else value
    found = faults(world)
    assert found
    assert set(found) == {"decoder.audio"}


def test_an_output_that_is_not_a_number_is_caught(world: World) -> None:
    world.bend = lambda stage, run, value: np.full_like(value, math.nan) if stage == "decoder" else value
    assert faults(world)


def test_only_what_is_asked_for_is_compared(world: World) -> None:
    found = measured(world, ("encoder",))
    assert found.timings["encoder"].ratio == pytest.approx(1.0)
    assert found.timings["decoder"].ratios == found.timings[CHAIN].ratios == ()
    assert found.timings["decoder"].milliseconds == pytest.approx(100)
    assert not any(line == "eager decoder" for line in world.log)


def test_measured_for_longer_it_keeps_the_rounds_so_far(world: World) -> None:
    one = timer(world)
    before = one.measured(HELLO).times.rounds
    world.artifact["decoder"] = 0.2
    one.extend(HELLO)
    found = one.measured(HELLO)
    assert found.times.rounds == 2 * before
    assert {round(ratio, 3) for ratio in found.timings["decoder"].ratios} == {1.25, 2.5}


def test_a_stage_that_the_glue_leaves_out_is_an_error(world: World) -> None:
    world.forgetful = True
    with pytest.raises(ValueError, match="tiny, case hello: the chain never ran decoder"):
        measured(world)
