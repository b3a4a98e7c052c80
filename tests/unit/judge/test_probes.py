"""Sizes at which artifacts are probed: all of them, or the common ones and, in a run of all cases, the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from parity.base.cache import Cache
from parity.build.artifacts import Built
from parity.declarations import Arrays, Dim, Seam, Stage, f32, i32
from parity.judge.gates import Gates
from parity.judge.probes import EDGE, Both, findings, perturbed, quantized, stretched
from parity.judge.workbench import Workbench
from parity.plan.checks import large, plan
from parity.plan.weights import choose
from parity.run.choice import runtime
from parity.verdict import Check
from tests.support.bucket_system import APART, FP32, REFERENCE, WIDTH, system

COLUMNS = Dim("columns", 1, 16, buckets=(4, 8, 16))
STAGE = replace(
    APART, inputs={"x": f32(1, WIDTH, COLUMNS)}, outputs={"y": f32(1, WIDTH, 2 * COLUMNS)}, trace_at={"columns": 3}
)


def probed(stage: Stage) -> tuple[list[str], list[str]]:
    """Return the sizes that every run probes, and those of a run of all cases."""
    x = np.ones((1, WIDTH, 3), np.float32)

    def doubled(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"y": np.repeat(inputs["x"], 2, 2)}

    seam = Seam("apart", {"x": x}, doubled({"x": x}))
    both = Both(stage, FP32, seam, doubled, doubled, doubled)
    return [found.output for found in findings(both) if found.gate == EDGE], [one.output for one in stretched(both)]


@pytest.mark.parametrize(
    ("program", "cost", "told"),
    [(1.1, 0.1, []), (1.12, 0.1, []), (1.14, 0.1, ["y quantized"]), (1.0, 0.0, ["apart quantized"])],
    ids=["alike", "rounded the other way", "otherwise", "nothing quantized"],
)
def test_a_program_is_as_its_quantized_module_up_to_a_quarter_of_the_cost(
    program: float, cost: float, told: list[str]
) -> None:
    x = np.ones((1, WIDTH, 4), np.float32)

    def times(factor: float) -> Callable[[Arrays], dict[str, np.ndarray]]:
        return lambda inputs: {"y": np.float32(factor) * np.repeat(inputs["x"], 2, 2)}

    seam = Seam("apart", {"x": x}, times(1)({"x": x}))
    module = times(1 + cost)
    found = list(quantized(Both(STAGE, FP32, seam, times(program), module, module), times(1)))
    assert [f"{one.output} {one.gate}" for one in found if not one.passed] == told
    assert found


def sizes(*values: int) -> list[str]:
    return [f"columns {value}" for value in values]


@pytest.mark.parametrize(
    ("common", "usual", "rare"), [(4, (1, 4), (5, 8, 9, 16)), (8, (1, 4, 5, 8), (9, 16)), (16, (1, 4, 5, 8, 9, 16), ())]
)
def test_buckets_above_the_common_ones_are_left_to_a_run_of_all_cases(
    common: int, usual: tuple[int, ...], rare: tuple[int, ...]
) -> None:
    stage = replace(STAGE, common=common)
    assert large(stage) == bool(rare)
    found, others = probed(stage)
    assert found == sizes(*usual)
    if rare:
        assert others == sizes(*rare)


def test_a_stage_that_is_traced_at_each_bucket_is_probed_all_the_same() -> None:
    assert probed(replace(STAGE, trace_at={}))[0] == sizes(1, 4, 5, 8, 9, 16)


def test_every_run_probes_all_buckets_where_none_is_said_to_be_rare() -> None:
    assert not large(STAGE)
    assert probed(STAGE)[0] == sizes(1, 4, 5, 8, 9, 16)


@pytest.mark.parametrize(("sensitive", "passes"), [(10.0, True), (1.0, False)])
def test_whole_numbers_are_held_to_what_rounding_the_weights_does_there(sensitive: float, passes: bool) -> None:
    """No input can be rounded. The artifact is nine times farther from the module with one column."""
    stage = replace(STAGE, inputs={"x": i32(1, WIDTH, COLUMNS)})

    def runs(inputs: Arrays, at_one: float = 1.0, error: float = 0.0) -> dict[str, np.ndarray]:
        y = np.repeat(inputs["x"].astype(np.float32), 2, 2)
        return {"y": y * (1 + error * (at_one if inputs["x"].shape[2] == 1 else 1.0))}

    x = np.arange(1, 3 * WIDTH + 1, dtype=np.int32).reshape(1, WIDTH, 3)
    artifact, rounded = partial(runs, at_one=9.0, error=4e-4), partial(runs, at_one=sensitive, error=1e-4)
    found = findings(Both(stage, FP32, Seam("apart", {"x": x}, runs({"x": x})), artifact, runs, rounded))
    assert {edge.output: edge.passed for edge in found if edge.gate == EDGE}["columns 1"] is passes


def test_evidence_of_probes_moves_with_the_declared_sizes(tmp_path: Path) -> None:
    """The package of a bucket is the same for all of them."""
    check = next(found for found in plan(system(), system().reference.cases, [runtime("milrun")]) if probes(found))

    def sizes(columns: Dim, **more: int) -> object:
        given = {"x": f32(1, WIDTH, columns)}
        stage = replace(APART, inputs=given, outputs={"y": f32(1, WIDTH, 2 * columns)}, **more)
        declared = replace(system(), stages=(stage, *system().stages[1:]))
        cache = Cache(tmp_path)
        weights = choose(REFERENCE, "seeded", cache)
        artifacts = Built(declared, weights, cache)
        goldens: Any = SimpleNamespace(identity=lambda case: case.name)
        bench = Workbench(declared, weights, goldens, artifacts, runtime("milrun"), Gates(()), cache)
        return bench.parts(check)["probed"]

    assert sizes(COLUMNS) == sizes(COLUMNS)
    assert sizes(COLUMNS) != sizes(replace(COLUMNS, low=2))
    assert sizes(COLUMNS) != sizes(COLUMNS, common=4)


def probes(check: Check) -> bool:
    return check.mode == "probed" and check.stage == "apart"


@pytest.mark.parametrize(("value", "other"), [(6, 3), (1, 2), (0, 1)])
def test_a_whole_number_is_halved_and_what_may_count_from_one_never_becomes_zero(value: int, other: int) -> None:
    assert perturbed("group", np.array([value], np.int32), 0.5).tolist() == [other]
