"""The gates of a detector with trained weights are proven on Silero VAD: each planted bug is caught where it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from converters.silero_vad import SYSTEM
from parity.base.torch_threads import threads
from parity.blame.explain import explained
from parity.record.suite import Suite
from tests.faults.parrot import parrot
from tests.faults.planting import assert_caught, judged
from tests.faults.silero_table import CASE, COARSE, FAULTS, GLUE_FAULTS, GlueFault, chain
from tests.faults.table import Fault


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with threads(1):
        yield


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_bug_is_caught_at_its_stage(suite: Suite, fault: Fault, tmp_path: Path) -> None:
    assert_caught(fault, judged(suite.workbench(fault.check), fault, tmp_path))


@pytest.mark.parametrize("fault", COARSE, ids=lambda fault: fault.name)
def test_palettes_that_are_too_small_break_the_gates_of_larger_ones(suite: Suite, fault: Fault, tmp_path: Path) -> None:
    assert_caught(fault, judged(suite.workbench(fault.check), fault, tmp_path))


@pytest.mark.parametrize("case", [CASE, "odd"])
def test_the_glue_as_it_is_passes_with_a_faultless_runtime(suite: Suite, case: str, tmp_path: Path) -> None:
    assert parrot(suite, chain(case), SYSTEM.chain, tmp_path).run(chain(case)).passed


@pytest.mark.parametrize("fault", GLUE_FAULTS, ids=lambda fault: fault.name)
def test_a_bug_of_the_host_is_caught_where_it_enters_first(suite: Suite, fault: GlueFault, tmp_path: Path) -> None:
    check = chain(fault.case)
    verdict = explained(parrot(suite, check, fault.glue, tmp_path), check)
    first = next(finding for finding in verdict.failures if finding.gate in ("glue", "runs"))
    assert first.output == fault.spoils, [str(finding) for finding in verdict.failures]
    assert verdict.blame is not None
    assert verdict.blame.stage == fault.spoils.split(".")[0]
