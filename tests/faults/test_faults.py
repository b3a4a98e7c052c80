"""Every gate is proven: a bug that it must catch is planted, and it catches it, at the right stage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from parity.cache import Cache
from parity.checks import Check
from parity.suite import Suite
from parity.verdict import Verdict
from tests.faults.planting import Planted
from tests.faults.table import FAULTS, Fault

CASE = "hello"


def plant(suite: Suite, fault: Fault, folder: Path) -> Verdict:
    numerics = ("torch", "fp32") if fault.mode == "module" else ("milrun", "declared")
    check = Check("kokoro", fault.stage, fault.variant, CASE, fault.mode, *numerics)
    clean = suite.workbench(check)
    if fault.mode == "module":
        stages = tuple(fault.plant(stage) if stage.name == fault.stage else stage for stage in clean.system.stages)
        return replace(clean, system=replace(clean.system, stages=stages), cache=Cache(folder)).run(check)
    return replace(clean, artifacts=Planted(clean, fault, folder), cache=Cache(folder / "cache")).run(check)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_bug_is_caught_at_its_stage(suite: Suite, fault: Fault, tmp_path: Path) -> None:
    verdict = plant(suite, fault, tmp_path)
    broken = {finding.gate for finding in verdict.failures}
    held = {finding.gate for finding in verdict.findings if finding.passed}
    assert set(fault.caught_by) <= broken, verdict
    assert set(fault.unseen_by) <= held, verdict
    assert verdict.blame is not None
    assert verdict.blame.stage == fault.stage
