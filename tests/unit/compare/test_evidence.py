"""Evidence: what is measured, what is kept for people, and that nothing is measured twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from parity.base.cache import Cache
from parity.compare import evidence
from parity.compare.evidence import gathered, measure, write
from parity.compare.modes import Comparison
from parity.declarations import Tensor
from parity.verdict import Finding
from tests.support.signals import FRAME_RATE, RATE, activity, voice

SPOKEN = {"audio": Tensor("float32", (RATE // 2,), "audio")}
HEARD = {"speaking": Tensor("float32", (300, 4), "diarization", rate=FRAME_RATE)}
TRUTH = np.array([[0.4, 7.2, 1.0], [7.2, 9.6, 2.0]])


def spoken(gain: float = 1.0) -> Comparison:
    audio = voice(seconds=0.5).astype(np.float32)
    actual = {"audio": np.float32(gain) * audio}
    return Comparison(SPOKEN, actual, {"audio": audio}, {"audio": "float32"}, "tail.")


def heard() -> Comparison:
    said = {"speaking": (activity() > 0.5).astype(np.float32)}
    return Comparison(HEARD, said, said, {"speaking": "float32"}, "host.", TRUTH)


def test_a_costly_metric_is_measured_only_where_a_gate_asks_for_it() -> None:
    _, usual = measure([spoken()], RATE)
    _, asked = measure([spoken()], RATE, lambda output: ["pitch_voicing"] if output == "tail.audio" else ())
    assert asked["tail.audio"].keys() - usual["tail.audio"].keys() == {"pitch_voicing"}
    assert asked["tail.audio"]["pitch_voicing"] == 1


def test_an_output_that_breaks_its_contract_is_not_measured() -> None:
    broken = spoken(np.nan)
    findings, values = measure([Finding("tail", "count", True), broken], RATE)
    assert findings[0].gate == "count"
    assert [(found.output, found.gate) for found in findings if not found.passed] == [("tail.audio", "finite")]
    assert values == {}


def test_evidence_is_made_once_and_read_back_as_it_was(tmp_path: Path) -> None:
    cache, runs = Cache(tmp_path), []

    def make(folder: Path) -> None:
        runs.append(1)
        write(folder, [spoken(1.5), heard()], RATE, 0.5)

    made = gathered(cache, {"check": "a"}, make)
    again = gathered(cache, {"check": "a"}, make)
    assert len(runs) == 1
    assert (made.reused, again.reused) == (False, True)
    assert replace(again, reused=False) == made
    assert made.values["tail.audio"]["gain_db"] == pytest.approx(3.52, abs=0.01)


def test_audio_and_turns_are_kept_and_read_by_one_file(tmp_path: Path) -> None:
    write(tmp_path, [spoken(1.5), heard()], RATE, 0.5)
    (pair,) = evidence.read_audio(tmp_path)
    assert (pair.output, pair.rate) == ("tail.audio", RATE)
    assert np.array_equal(pair.candidate, np.float32(1.5) * pair.reference)
    assert evidence.with_turns(tmp_path) == ["host.speaking"]
    meeting = evidence.read_meeting(tmp_path, "host.speaking")
    assert meeting.agreed
    assert meeting.truth is not None
    assert meeting.truth.tolist() == TRUTH.tolist()
