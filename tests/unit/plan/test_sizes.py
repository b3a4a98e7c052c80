"""Which runs take a stage to sizes that take long there."""

from __future__ import annotations

import pytest

from converters.kokoro import SYSTEM
from converters.styletts2 import SYSTEM as BUCKETED
from parity.declarations import System
from parity.plan.checks import large, plan
from parity.run.choice import runtime


def stretched(system: System, cases: int | None) -> set[tuple[str, str]]:
    found = plan(system, system.reference.cases[:cases], [runtime("milrun")])
    return {(check.stage, check.variant) for check in found if check.mode == "stretched"}


def test_what_ships_is_judged_at_the_end_of_its_range_in_every_run() -> None:
    assert stretched(SYSTEM, 1) == {("noise", "fp32-pal8"), ("vocoder", "fp16-pal8")}


@pytest.mark.parametrize("system", [SYSTEM, BUCKETED], ids=lambda system: system.name)
def test_a_run_of_all_cases_judges_every_variant_there(system: System) -> None:
    wanted = {(stage.name, own.name) for stage in system.stages if large(stage) for own in stage.variants}
    assert stretched(system, None) == wanted != set()


def test_rare_buckets_are_left_to_a_run_of_all_cases() -> None:
    assert stretched(BUCKETED, 1) == set()
