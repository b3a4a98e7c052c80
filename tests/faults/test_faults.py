"""Every gate is proven: a bug that it must catch is planted, and it catches it, at the right stage."""

from __future__ import annotations

from pathlib import Path

import pytest

from parity.record.suite import Suite
from tests.faults.planting import assert_caught, judged
from tests.faults.table import FAULTS, Fault


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_bug_is_caught_at_its_stage(suite: Suite, fault: Fault, tmp_path: Path) -> None:
    assert_caught(fault, judged(suite.workbench(fault.check), fault, tmp_path))
