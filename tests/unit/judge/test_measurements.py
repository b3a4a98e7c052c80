"""A module that is far from upstream hides bugs of that size, and is reported until it has an inner stage."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from converters.kokoro import SYSTEM
from parity.judge.calibrate import Measured, far
from parity.plan.checks import plan, tables
from parity.verdict import Check

BARE = replace(SYSTEM, inner=())


def measured(stage: str, value: float, variant: str = "module", case: str = "hello") -> Measured:
    check = Check(
        system="kokoro", stage=stage, variant=variant, case=case, mode="module", runtime="torch", numerics="fp32"
    )
    return Measured(check, "x_source_0", "relative_l2", value)


def test_a_module_that_is_far_from_upstream_is_reported_once_with_its_worst() -> None:
    (line,) = far([measured("noise", 0.002), measured("noise", 0.0159, case="flight"), measured("tail", 1e-6)], BARE)
    assert line.startswith("kokoro/noise: the module itself is 0.0159 from upstream (relative L2 of x_source_0, case f")
    assert 'within="noise"' in line


def test_an_inner_stage_answers_for_it() -> None:
    assert far([measured("noise", 0.0159), measured("noise_spectrum", 0.003)], SYSTEM) == []
    assert len(far([measured("noise", 0.0159), measured("prosody", 0.01)], SYSTEM)) == 1


def test_only_the_module_counts() -> None:
    assert far([measured("noise", 0.0159, variant="fp32")], BARE) == []


def test_an_inner_stage_is_checked_by_itself_and_not_in_the_chain() -> None:
    runtime: Any = type("Runtime", (), {"name": "milrun", "numerics": "declared", "format": "mlpackage"})
    checks = list(plan(SYSTEM, SYSTEM.reference.cases[:1], [runtime]))
    own = [(check.variant, check.mode) for check in checks if check.stage == "noise_sources"]
    assert own == [("module", "module"), ("fp32", "forced"), ("fp32-pal8", "forced")]
    assert all(isinstance(check, Check) for check in checks)
    outputs = {table for table in tables(SYSTEM) if "noise_sources" in ".".join(table)}
    assert {stage for stage, _, _ in outputs} == {"noise_sources"}


@pytest.mark.parametrize("wrong", [{"within": "nose"}, {"within": ""}, {"name": "noise"}])
def test_an_inner_stage_lies_within_a_stage_under_a_name_of_its_own(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="it needs a name of its own, and `within` one of albert"):
        replace(SYSTEM, inner=(replace(SYSTEM.inner[0], **wrong),))  # type: ignore[arg-type]
