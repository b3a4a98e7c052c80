"""Every gate is proven: a bug that it must catch is planted, and it catches it, at the right stage and line."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from converters.sortformer import SYSTEMS
from converters.sortformer.glue import Glue
from parity.base import libraries
from parity.plan.systems import systems
from parity.record.suite import Suite
from tests.faults.__main__ import table
from tests.faults.form import Fault, Heard, assert_caught, judged
from tests.faults.tables import FAULTS, SOUND
from tests.faults.vacuous import VACUOUS

JUDGED = [fault for fault in FAULTS if not isinstance(fault, Heard)]


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of planted packages: converted once, checked in several modes."""
    return tmp_path_factory.mktemp("planted")


def absent(fault: Fault) -> str:
    return f"{fault.needs} is not installed: make extra-{systems()[fault.system].reference.extra or fault.needs}"


@pytest.mark.parametrize("fault", JUDGED, ids=lambda fault: fault.id)
def test_a_planted_bug_is_caught_where_it_is(suite: Suite, fault: Fault, shelf: Path) -> None:
    if fault.lacks:
        pytest.skip(absent(fault))
    assert_caught(fault, judged(suite, fault, shelf / fault.package))


@pytest.mark.parametrize("sound", SOUND, ids=lambda sound: sound.id)
def test_what_has_no_bug_passes(suite: Suite, sound: Fault, shelf: Path) -> None:
    if sound.lacks:
        pytest.skip(absent(sound))
    verdict = judged(suite, sound, shelf / sound.package)
    assert verdict.passed, verdict


SLIPS = [fault for fault in FAULTS if fault.needs == "nemo-toolkit"]


@pytest.mark.parametrize("slip", SLIPS[:1], ids=lambda fault: fault.id)
def test_where_upstream_is_not_installed_it_says_what_would_tell_more(
    suite: Suite, slip: Fault, monkeypatch: pytest.MonkeyPatch, shelf: Path
) -> None:
    monkeypatch.setattr(libraries, "installed", lambda name: name != slip.needs)
    says = f"which layer it begins in can be told where {slip.needs} is installed: make extra-sortformer"
    unheard = replace(slip, at="", says=(says,), line="in forward: speaker_preds = torch.sigmoid")
    assert_caught(unheard, judged(suite, unheard, shelf / slip.package))


def test_the_glue_is_the_same_for_every_way_of_streaming() -> None:
    assert all(type(system.chain) is Glue for system in SYSTEMS)


def test_each_fault_has_a_name_of_its_own() -> None:
    assert [id for id, count in Counter(fault.id for fault in (*FAULTS, *SOUND)).items() if count > 1] == []


def test_the_printed_table_has_every_bug_with_its_source() -> None:
    rows = [line.split("  ") for line in table().splitlines()]
    for fault in FAULTS:
        assert any({fault.system, fault.name, fault.source} <= {cell.strip() for cell in row} for row in rows), fault
    assert all(any(way in (cell.strip() for cell in row) for row in rows) for way, _, _ in VACUOUS.values())
