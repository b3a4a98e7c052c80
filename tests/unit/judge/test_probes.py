"""Sizes at which artifacts are probed: all of them, or the common ones and, in a run of all cases, the rest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from parity.base.cache import Cache
from parity.build.artifacts import Built
from parity.declarations import Dim, Seam, Stage, f32
from parity.judge.exercise import Examiner
from parity.judge.exercise.probes import EDGE, findings, stretched
from parity.judge.gates import Gates
from parity.plan.checks import large, plan
from parity.plan.weights import choose
from parity.run import runtime
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
    usual = [found.output for found in findings(stage, FP32, seam, doubled, doubled) if found.gate == EDGE]
    return usual, [found.output for found in stretched(stage, FP32, seam, doubled, doubled)]


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


def test_every_run_probes_all_buckets_where_none_is_said_to_be_rare() -> None:
    assert not large(STAGE)
    assert probed(STAGE)[0] == sizes(1, 4, 5, 8, 9, 16)


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
        bench = Examiner(declared, weights, goldens, artifacts, runtime("milrun"), Gates(()), cache)
        return bench.parts(check)["probed"]

    assert sizes(COLUMNS) == sizes(COLUMNS)
    assert sizes(COLUMNS) != sizes(replace(COLUMNS, low=2))
    assert sizes(COLUMNS) != sizes(COLUMNS, common=4)


def probes(check: Check) -> bool:
    return check.mode == "probed" and check.stage == "apart"
