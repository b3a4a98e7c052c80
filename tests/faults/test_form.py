"""The judgement of a planted bug is itself strict: each thing that a fault says of its verdict can fail."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from parity.judge import gates
from parity.verdict import Blame, Finding
from tests.faults.form import Fault, assert_caught
from tests.faults.planting import AsItIs
from tests.faults.tables import FAULTS

FAULT = Fault("a bug", "stft", AsItIs(), ("y relative_l2",), "silero_vad", "fp16", "phrase", unseen_by=("cosine",))
BLAME = Blame(
    "stft", "y", "gain 2×", value="z", source="modules.py, F.pad(x)", fault="graph", detail="from step 2 of 7"
)
SAID: dict[str, Any] = {"step": 2, "line": "F.pad(", "at": "z", "says": ("gain 2×", "of 7")}
VERDICT = replace(
    FAULT.check.verdict(
        [Finding("y", "relative_l2", False), Finding("y", "dtype", False), Finding("y", "cosine", True)]
    ),
    blame=BLAME,
)


def test_every_metric_that_ships_is_one_that_some_planted_bug_must_break() -> None:
    """A metric that no bug breaks may be unable to."""
    files = (Path(__file__).parents[2] / "golden").rglob("gates.toml")
    used = {gate.metric for file in files for gate in gates.load(file).gates}
    broken = {name.rpartition(" ")[2] for fault in FAULTS for name in fault.caught_by}
    assert used - broken == set()


def test_what_a_fault_says_holds() -> None:
    assert_caught(replace(FAULT, **SAID), VERDICT)


@pytest.mark.parametrize(
    "wrong",
    [
        {"caught_by": ("rms_ratio",)},
        {"caught_by": ("x relative_l2",)},
        {"unseen_by": ("dtype",)},
        {"caught_by": ("relative_l2",), "alone": True},
        {"stage": "encoder"},
        {"step": 1},
        {"line": "F.relu("},
        {"line": "F.pad(", "mode": "module"},
        {"at": "x"},
        {"says": ("gain 3×",)},
    ],
    ids=str,
)
def test_what_a_fault_says_wrongly_fails(wrong: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        assert_caught(replace(FAULT, **wrong), VERDICT)


@pytest.mark.parametrize(("at", "right"), [("y", True), ("z", False)])
def test_of_a_bug_of_the_host_the_first_wrong_value_counts(at: str, right: bool) -> None:
    host = replace(FAULT, mode="chained", caught_by=("glue",), unseen_by=(), at=at)
    verdict = replace(
        host.check.verdict([Finding("stft.y", "glue", False), Finding("stft.z", "glue", False)]), blame=BLAME
    )
    with nullcontext() if right else pytest.raises(AssertionError):
        assert_caught(host, verdict)


def test_a_verdict_without_blame_fails() -> None:
    with pytest.raises(AssertionError):
        assert_caught(FAULT, replace(VERDICT, blame=None))
