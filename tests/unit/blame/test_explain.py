"""The verdict of a stage that runs step by step says where the error begins, where it is largest, and what failed."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from parity.base.cache import Cache
from parity.blame.explain import explained
from parity.blame.failure import Failure, find
from parity.build.artifacts import Built
from parity.declarations import HOST, Arrays, Case, Dim, Run, Seam, i32
from parity.judge.gates import parse
from parity.judge.workbench import Workbench
from parity.plan.checks import plan
from parity.plan.weights import choose
from parity.run import stepping
from parity.run.choice import runtime
from parity.verdict import Blame, Verdict
from tests.support import stepping_system as small

CASE = small.REFERENCE.cases[0]


def by_step(errors: list[float], bounds: dict[str, float]) -> Failure:
    """The crossing of an answer that is off by a share of its size at each step."""
    stage, (golden,) = small.stage(), small.record(small.Upstream(), CASE)
    size = float(np.sqrt(np.square(golden.outputs["answer"].astype(np.float64)).mean()))
    made = {crossing.inputs["position"].item(): crossing.outputs for crossing in stepping.crossings(stage, golden)}

    def cross(inputs: Arrays) -> dict[str, np.ndarray]:
        outputs = made[step := inputs["position"].item()]
        return {**outputs, "answer": (outputs["answer"] + errors[step] * size).astype(np.float32)}

    return find(stage, golden, cross, dict, ["answer"], bounds)


@pytest.mark.parametrize(
    ("errors", "bounds", "said"),
    [
        (
            [0.02, 0.02, 0.02, 0.02, 0.02, 0.02, 0.02, 0.02, 0.9],
            {},
            "from step 0 of 9 on (error 0.02), largest at step 8 (0.9)",
        ),
        (
            [3e-4, 3e-4, 3e-4, 2e-3, 0, 0, 0.4, 0, 0],
            {"answer": 1e-3},
            "from step 3 of 9 on (error 0.002), largest at step 6 (0.4)",
        ),
        ([3e-4, 3e-4, 3e-4, 3e-4, 3e-4, 0.4, 0.4, 0.1, 0.1], {"answer": 1e-3}, "from step 5 of 9 on"),
        ([1e-4, 1e-4, 1e-4, 9e-4, 1e-4, 1e-4, 1e-4, 1e-4, 1e-4], {"answer": 1e-3}, "from step 3 of 9 on"),
    ],
    ids=["there from the start", "beyond its bound before it is large", "behind rounding", "never beyond its bound"],
)
def test_the_step_at_which_an_error_begins_and_the_one_at_which_it_is_largest_are_two_facts(
    errors: list[float], bounds: dict[str, float], said: str
) -> None:
    placed = by_step(errors, bounds).searched(lambda: Blame("step", "answer", "other"))
    assert placed.detail == said


def test_the_step_that_is_looked_into_has_an_error_that_stands_out() -> None:
    assert by_step([0.02, 0.02, 0.02, 0.02, 0.02, 0.5, 0.02, 0.02, 0.9], {}).step == 5


class Forgetful(small.Step):
    def follow(self, trace: Tensor, x: Tensor) -> Tensor:
        return x + 0 * trace


def of_module(folder: Path, **changes: Any) -> Verdict:
    """The module check of a stage that forgets, of a reference that is changed."""
    return judged(folder, Forgetful, "module", **changes)


def judged(folder: Path, module: type[small.Step], mode: str, **changes: Any) -> Verdict:
    cache = Cache(folder)
    system = replace(small.system(module), reference=replace(small.REFERENCE, **changes))
    weights = choose(small.REFERENCE, "seeded", cache)
    goldens = small.Recorded(small.build(weights.checkpoint()))
    gates = parse('[step.module.answer]\nrelative_l2 = { max = 1e-5, derived_from = "rounding" }', "gates.toml")
    milrun = runtime("milrun")
    bench = Workbench(system, weights, goldens, Built(system, weights, cache), milrun, gates, cache)
    return explained(bench, next(check for check in plan(system, (CASE,), [milrun]) if check.mode == mode))


class Narrow(small.Step):
    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        answer, *others = super().forward(*inputs)
        return answer[:, :1], *others


@pytest.mark.parametrize("mode", ["module", "forced"])
def test_an_output_of_another_shape_than_declared_is_blamed_on_the_line_that_makes_it(
    tmp_path: Path, mode: str
) -> None:
    verdict = judged(tmp_path, Narrow, mode)
    assert not verdict.passed
    assert verdict.blame is not None
    assert (verdict.blame.output, verdict.blame.fault) == ("answer", "module")
    assert "return answer[:, :1]" in verdict.blame.source
    assert ("the package has it from the module" in verdict.blame.detail) == (mode == "forced")


class Fewer(small.Step):
    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return super().forward(*inputs)[:2]


def test_a_module_that_gives_fewer_outputs_than_declared_is_blamed_for_its_failure_to_run(tmp_path: Path) -> None:
    verdict = judged(tmp_path, Fewer, "module")
    assert verdict.blame is not None
    assert verdict.blame.looks_like == "a failure to run"
    assert "shorter" in verdict.blame.detail


def test_the_bound_of_the_gate_tells_where_the_error_begins(tmp_path: Path) -> None:
    blame = of_module(tmp_path).blame
    assert blame is not None
    assert blame.detail.startswith("from step 1 of 9 on (error ")


def test_an_error_of_the_search_is_logged_with_its_traceback_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def layers(model: Any) -> Any:
        raise LookupError("no layers")

    with caplog.at_level(logging.ERROR):
        verdict = of_module(tmp_path, layers=layers)
    assert verdict.blame is not None
    assert verdict.blame.detail == "blame itself failed: LookupError: no layers"
    (logged,) = (record for record in caplog.records if record.exc_info)
    assert "step answer" in logged.getMessage()


def fine(answer: np.ndarray) -> np.ndarray:
    """A count that rounding changes."""
    return np.rint(answer.astype(np.float64).sum(1) * 1e9).astype(np.int32)


def counting(run: Run, case: Case) -> None:
    """The chain, which counts on the last answer."""
    answers = []

    class Heard:
        tables = run.tables
        decide = staticmethod(run.decide)

        def __call__(self, stage: str, inputs: Arrays) -> Any:
            given = run(stage, inputs)
            answers.append(given["answer"])
            return given

    small.chain(Heard(), case)
    run.decide(HOST, "count", fine(answers[-1]))


class Counted(small.Recorded):
    def load(self, case: Case) -> dict[str, Seam]:
        known = super().load(case)
        return {**known, HOST: Seam(HOST, {}, {"count": fine(known["step"].outputs["answer"][-1])})}


def test_a_decision_that_drift_turns_over_is_told_beside_upstreams(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    system = replace(small.system(glue=counting), decisions={"count": i32(Dim("rows", 1, 9), kind="durations")})
    weights = choose(small.REFERENCE, "seeded", cache)
    goldens = Counted(small.build(weights.checkpoint()))
    gates = parse('[chain.fp16."host.count"]\nframes_equal = { min = 1, derived_from = "exact" }', "gates.toml")
    milrun = runtime("milrun")
    bench = Workbench(system, weights, goldens, Built(system, weights, cache), milrun, gates, cache)
    check = next(
        check for check in plan(system, (CASE,), [milrun]) if (check.stage, check.variant) == ("chain", "fp16")
    )
    blame = explained(bench, check).blame
    assert blame is not None
    assert blame.stage == HOST
    assert re.search(r"`count` is -?\d+ where upstream has -?\d+$", blame.detail), blame
