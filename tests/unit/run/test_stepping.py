"""Stages that run step by step, from the recording to the verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
from torch import Tensor

from parity import steps
from parity.base.cache import Cache
from parity.blame.explain import explained
from parity.blame.failure import find
from parity.build.artifacts import Built
from parity.build.convert import ConversionError
from parity.declarations import Arrays, Case, Run, Seam, Stage, System, Variant
from parity.judge import gates
from parity.judge.calibrate import measurements, propose
from parity.judge.workbench import Workbench
from parity.plan.checks import plan, tables
from parity.plan.weights import choose
from parity.run import stepping
from parity.run.choice import runtime
from parity.verdict import UNBLAMED, Mode, Verdict
from tests.support import stepping_system as small

Judge = Callable[..., list[Verdict]]


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    """The verdicts of every check of a system, under bounds that the faultless one was measured for."""
    cache = Cache(tmp_path_factory.mktemp("stepping"))
    weights = choose(small.REFERENCE, "seeded", cache)
    goldens = small.Recorded(small.build(weights.checkpoint()))

    def verdicts(system: System, known: gates.Gates) -> list[Verdict]:
        milrun = runtime("milrun")
        bench = Workbench(system, weights, goldens, Built(system, weights, cache), milrun, known, cache)
        gated = [check for check in plan(system, system.reference.cases, [milrun]) if check.mode not in UNBLAMED]
        return [explained(bench, check) for check in gated]

    int8 = Variant("int8", "float16", quantize=True, spared=("out",), compute_units="CPU_AND_NE")
    variants = (*small.stage().variants, Variant("held", "float16", holds=True), int8)
    clean = small.system(variants=variants)
    found = verdicts(clean, gates.Gates(()))
    bounds, _ = propose(list(measurements(found, clean, cache)), gates.Gates(()))
    return lambda **changes: verdicts(small.system(**{"variants": variants, **changes}), bounds)


def broken(verdicts: list[Verdict], mode: Mode) -> set[tuple[str, str]]:
    return {
        (found.output, found.gate) for verdict in verdicts if verdict.check.mode == mode for found in verdict.failures
    }


def test_a_recording_gives_back_every_step_whole() -> None:
    model = small.Upstream()
    (seam,) = small.record(model, small.REFERENCE.cases[0])
    assert seam.outputs["cache0_out"].shape == (1, small.STEPS, small.WIDTH)
    stage, position = small.stage(), 0
    cache = np.zeros((1, small.SLOTS, small.WIDTH), np.float32)
    for crossing in stepping.crossings(stage, seam):
        np.testing.assert_array_equal(crossing.inputs["cache0"], cache)
        cache = crossing.outputs["cache0_out"]
        assert cache[0, position].any()
        assert not cache[0, position + 1 :].any()
        position += 1
        assert crossing.outputs["position_out"] == position
    assert position == stepping.count(stage, seam) == small.STEPS


def test_steps_may_write_different_numbers_of_slots() -> None:
    generator = np.random.default_rng(0)
    cache, crossings = np.zeros((2, 1, 10, 3), np.float32), []
    for start, stop in ((0, 4), (4, 5), (5, 8)):
        after = cache.copy()
        after[:, :, start:stop] = generator.standard_normal((2, 1, stop - start, 3))
        crossings.append(steps.Crossing({"x": np.ones(1), "cache": cache}, {"cache_out": after}))
        cache = after
    seam = steps.seam("prefill", crossings, {"cache_out": "cache"}, {"cache_out": 2})
    assert seam.inputs["cache_out.slots"].tolist() == [[0, 1, 2, 3], [4, -1, -1, -1], [5, 6, 7, -1]]
    declared = small.real(2, 1, 10, 3, kind="cache", slots=2)
    stage = replace(
        small.stage(), inputs={"x": small.f32(1), "cache": declared}, outputs={"cache_out": declared}, derived={}
    )
    stage = replace(stage, carries={"cache_out": "cache"})
    for made, known in zip(stepping.crossings(stage, seam), crossings, strict=True):
        np.testing.assert_array_equal(made.inputs["cache"], known.inputs["cache"])
        np.testing.assert_array_equal(made.outputs["cache_out"], known.outputs["cache_out"])


def test_a_step_may_write_what_a_slot_held() -> None:
    cache = np.zeros((1, 4, 2), np.float32)
    written = cache.copy()
    written[:, 1] = 1

    def crossing(before: np.ndarray, *wrote: int) -> steps.Crossing:
        return steps.Crossing({"cache": before}, {"cache_out": written}, {"cache_out": wrote} if wrote else {})

    def seam(*crossings: steps.Crossing) -> Seam:
        return steps.seam("toy", crossings, {"cache_out": "cache"}, {"cache_out": 1})

    found = seam(crossing(cache), crossing(written, 1))
    assert found.inputs["cache_out.slots"].tolist() == [[1], [1]]
    assert found.outputs["cache_out"].tolist() == [[[1, 1], [1, 1]]]
    with pytest.raises(
        ValueError, match="step 1: cache_out was written nowhere; if the step wrote what was there, name"
    ):
        seam(crossing(cache), crossing(written))
    with pytest.raises(ValueError, match=r"step 0: slots \[1\] of cache_out changed, and are not in `wrote`"):
        seam(crossing(cache, 2))


def test_a_recording_whose_steps_do_not_follow_on_each_other_is_refused() -> None:
    one = steps.Crossing({"s": np.zeros(2)}, {"s_out": np.ones(2)})
    with pytest.raises(ValueError, match="step 1: s is not what the step before left in s_out"):
        steps.seam("toy", [one, one], {"s_out": "s"}, {})
    with pytest.raises(ValueError, match="never crossed"):
        steps.seam("toy", [], {"s_out": "s"}, {})


def test_every_way_of_keeping_the_state_passes(judge: Judge) -> None:
    verdicts = judge()
    assert {(verdict.check.variant, verdict.check.mode) for verdict in verdicts} >= {
        *((name, mode) for name in ("fp32", "fp16", "held", "int8") for mode in ("forced", "carried")),
        ("module", "module"),
        ("ships", "chained"),
    }
    assert [verdict.failures for verdict in verdicts if not verdict.passed] == []


def test_layers_share_their_gates() -> None:
    assert ("step", "fp16", "cache*") in set(tables(small.system()))
    assert ("chain", "ships", "step.cache*") in set(tables(small.system()))


class OneLate(small.Step):
    def write(self, cache: Tensor, value: Tensor, position: Tensor) -> Tensor:
        return super().write(cache, value, position + 1)


class Frozen(small.Step):
    def write(self, cache: Tensor, value: Tensor, position: Tensor) -> Tensor:
        return cache + 0 * value


class Everywhere(small.Step):
    """Right where it has to write, and in the slots behind as well."""

    def write(self, cache: Tensor, value: Tensor, position: Tensor) -> Tensor:
        return super().write(super().write(cache, value, position), value, position + 1)


class Forgetful(small.Step):
    """A state that is begun anew at each step."""

    def follow(self, trace: Tensor, x: Tensor) -> Tensor:
        return x + 0 * trace


class Stuck(small.Step):
    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        *others, position = super().forward(*inputs)
        return (*others, position - 1)


@pytest.mark.parametrize(
    ("module", "found"),
    [
        (OneLate, ("cache0_out", "cosine")),
        (Frozen, ("cache0_out", "present")),
        (Everywhere, ("cache0_out", "kept")),
        (Forgetful, ("trace_out", "cosine")),
        (Stuck, ("position_out", "equal")),
    ],
)
def test_a_state_that_goes_wrong_is_caught_by_itself(judge: Judge, module: Any, found: tuple[str, str]) -> None:
    verdicts = judge(module=module)
    wrong = {name for name, _ in broken(verdicts, "forced")}
    assert found[0] in wrong
    for verdict in verdicts:
        if verdict.check.mode == "forced":
            assert not verdict.passed
            assert verdict.blame is not None
            assert "of 9 on" in verdict.blame.detail, verdict.blame


class Restless:
    """The host's bugs: what it carries, and when it stops."""

    def __init__(self, run: Run) -> None:
        self.run, self.tables = run, run.tables

    def decide(self, stage: str, name: str, value: np.ndarray) -> np.ndarray:
        return self.run.decide(stage, name, value)


class Resetting(Restless):
    def __call__(self, stage: str, inputs: Arrays) -> Any:
        return self.run(stage, {**inputs, "trace": np.zeros_like(inputs["trace"])})


class Deciding(Restless):
    def __call__(self, stage: str, inputs: Arrays) -> Any:
        return self.run(stage, inputs)

    def decide(self, stage: str, name: str, value: np.ndarray) -> np.ndarray:
        return self.run.decide(stage, name, value + np.float32(1))


def resetting(run: Run, case: Case) -> None:
    small.chain(Resetting(run), case)


def deciding(run: Run, case: Case) -> None:
    small.chain(Deciding(run), case)


def short(run: Run, case: Case) -> None:
    small.chain(run, replace(case, inputs={"x": case.inputs["x"][:-2]}))


def test_a_state_that_the_host_drops_is_caught(judge: Judge) -> None:
    assert ("step.trace", "glue") in broken(judge(glue=resetting), "chained")


def test_a_decision_that_the_host_makes_otherwise_is_caught(judge: Judge) -> None:
    found = broken(judge(glue=deciding), "chained")
    assert {("step.margin", "glue"), ("step.margin", "signs_equal")} <= found


def test_a_loop_that_ends_early_is_caught(judge: Judge) -> None:
    verdicts = judge(glue=short)
    assert {("step.steps", "glue"), ("step.steps", "count")} == broken(verdicts, "chained")
    verdict = next(found for found in verdicts if found.check.mode == "chained")
    assert verdict.blame is not None
    assert (verdict.blame.output, verdict.blame.looks_like) == ("steps", "an early end")
    assert "the host runs it 7 times, upstream 9 times" in verdict.blame.detail


@pytest.mark.parametrize(("spared", "kept"), [((), 0), (("out",), 1)])
def test_what_is_spared_is_not_quantized(tmp_path: Path, spared: tuple[str, ...], kept: int) -> None:
    cache = Cache(tmp_path)
    stage = small.stage(variants=(Variant("int8", "float16", quantize=True, spared=spared, ships=True),))
    system = replace(small.system(), stages=(stage,))
    built = Built(system, choose(small.REFERENCE, "seeded", cache), cache)
    spec = ct.models.MLModel(str(built.get(stage, stage.shipping).package), skip_model_load=True).get_spec()
    (block,) = spec.mlProgram.functions["main"].block_specializations.values()
    assert [op.type for op in block.operations].count("constexpr_affine_dequantize") == 2 - kept


def test_sparing_what_there_is_not_is_an_error(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    stage = small.stage(variants=(Variant("int8", "float16", quantize=True, spared=("eos",), ships=True),))
    built = Built(small.system(), choose(small.REFERENCE, "seeded", cache), cache)
    with pytest.raises(ConversionError, match="no weight's name begins with eos"):
        built.get(stage, stage.shipping)


def nearly_zero_at(step: int) -> tuple[Stage, Seam]:
    (golden,) = small.record(small.Upstream(), small.REFERENCE.cases[0])
    golden.outputs["answer"][step] *= 1e-6
    return small.stage(), golden


def offset(stage: Stage, golden: Seam, by: Callable[[int], dict[str, np.ndarray]]) -> Callable[[Arrays], Any]:
    """A graph that is off by something at each step."""
    made = {crossing.inputs["position"].item(): crossing.outputs for crossing in stepping.crossings(stage, golden)}
    return lambda inputs: {
        name: value + by(inputs["position"].item()).get(name, np.zeros((), value.dtype))
        for name, value in made[inputs["position"].item()].items()
    }


def test_a_value_that_happens_to_be_near_zero_does_not_attract_the_blame() -> None:
    stage, golden = nearly_zero_at(5)
    cross = offset(stage, golden, lambda step: {"answer": np.full((1, small.WIDTH), 0.1, np.float32)})
    found = find(stage, golden, cross, dict, ["answer"], {})
    assert (found.step, len(found.errors)) == (0, small.STEPS)


def test_the_first_step_that_breaks_what_is_exact_is_blamed_however_little_it_is() -> None:
    stage, golden = nearly_zero_at(5)

    def by(step: int) -> dict[str, np.ndarray]:
        spoilt = np.zeros((1, small.SLOTS, small.WIDTH), np.float32)
        spoilt[:, -1] = 1e-3 if step == 2 else 10.0 if step > 2 else 0.0
        return {"cache0_out": spoilt}

    found = find(stage, golden, offset(stage, golden, by), dict, ["cache0_out"], {})
    assert (found.step, found.outputs[0]) == (2, "cache0_out")
