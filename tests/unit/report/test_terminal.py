"""What the terminal says: a table a person reads, failures that explain themselves, progress in nobody's way."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from parity.base.text import duration
from parity.report.terminal import explain, table
from parity.verdict import Bound, Finding, Verdict
from tests.support import report_samples as samples


def broken(stage: str) -> Verdict:
    return next(verdict for verdict in samples.record().failed if verdict.check.stage == stage)


def test_a_system_takes_one_line_that_says_what_its_pass_proves() -> None:
    line = table(samples.clean()).splitlines()[0]
    assert line.split("  ")[0] == "kokoro"
    for words in ("7 stages", "18 artifacts", "82 checks", "✓ 82", "graph pass (milrun, declared)"):
        assert words in line


def test_a_pass_on_core_ml_is_a_device_pass_only_on_a_mac() -> None:
    record = samples.clean()
    record = samples.on_core_ml(record)
    assert "device pass" not in table(record)
    assert "device pass (Core ML)" in table(replace(record, machine={"system": "Darwin"}))


def test_a_failed_system_names_its_worst_fault_and_proves_nothing() -> None:
    first = table(samples.record()).splitlines()[0]
    assert "✓ 82  ✗ 4  ! 1" in first
    assert "alignment fp16: asr: is missing" in first
    assert "graph pass" not in table(samples.record())


def test_what_was_not_judged_is_told() -> None:
    said = table(samples.record())
    assert "no verdict: kokoro-prosody-fp16-flight-forced-milrun-declared: raised: RuntimeError" in said
    assert "not run here:\n  device placement: no Core ML on this machine\n  device RTFx" in said
    assert "reused evidence: 43 of 86 checks" in said
    assert "skipped: 1 check: case 'expedition' is not short" in said
    assert "note: loosened: kokoro" in said
    assert said.endswith("FAILED: 5 problems")


def test_a_run_of_nothing_fails() -> None:
    assert table(replace(samples.clean(), verdicts=(), expected=())).endswith("FAILED: 1 problem")


def test_checks_of_a_system_that_gave_no_verdict_are_counted() -> None:
    record = replace(samples.clean(), expected=(samples.check("stage", "fp16", "hello", system="other"),))
    assert re.search(r"other +1 stage .*0 checks +✓ 0  \? 1 +other-stage-fp16-\S+ gave no verdict", table(record))


def test_a_partial_run_is_told_from_a_full_one() -> None:
    assert "PARTIAL run, not the full verdict" in table(replace(samples.clean(), partial=True))


def test_a_failure_shows_what_broke_beside_what_held() -> None:
    said = explain(broken("noise"))
    assert said.splitlines()[0] == "FAILED kokoro · noise · fp32-pal8 · case hello · forced · milrun/declared"
    assert "cosine 0.849 < 0.9995    relative l2 0.541 > 0.02    rms ratio 0.964 not within 0.005 of 1" in said
    assert "holds: max abs" in said
    assert "x_source_1" not in said


def test_a_failure_says_where_it_begins_and_whose_fault_it_is() -> None:
    said = explain(broken("noise"))
    assert "First divergence: `phase` (atan, op 41 of 253), source: CustomSTFT.transform, atan2" in said
    assert "looks like a quadrant error of atan2 for x < 0" in said
    assert "the graph is wrong, not its precision" in said
    assert "its precision is too low" in explain(broken("vocoder"))
    assert "the rewrite is wrong" in explain(broken("tail"))


def test_an_error_that_began_in_an_earlier_stage_is_blamed_on_it() -> None:
    verdict = broken("tail")
    assert verdict.blame is not None
    assert "Begins in stage vocoder, output x_pre" in explain(
        replace(verdict, blame=replace(verdict.blame, stage="vocoder", output="x_pre"))
    )


def test_a_missing_output_is_explained_by_its_message() -> None:
    assert "asr   presence: is missing: the artifact gives en, var_42" in explain(broken("alignment"))


def test_a_check_that_compared_nothing_says_so() -> None:
    assert "nothing was compared" in explain(replace(broken("tail"), findings=()))


def test_a_cosine_near_to_one_is_not_rounded_to_it() -> None:
    finding = Finding("out", "cosine", False, 0.99994, Bound("min", 0.99995, 1.0))
    assert "0.99994 < 0.99995" in explain(replace(broken("tail"), findings=(finding,)))


def test_text_of_others_does_not_steer_the_terminal() -> None:
    said = table(samples.hostile("\x1b[2J\x07\r\nPASSED: all\u202e"))
    assert not set(said) & set("\x1b\x07\r\u202e")
    assert not any(line.startswith("PASSED") for line in said.splitlines())


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.34, "0.3 s"), (12.6, "13 s"), (59.7, "1 min 00 s"), (75, "1 min 15 s"), (7260, "2 h 01 min")],
)
def test_a_duration_is_told_as_a_person_does(seconds: float, said: str) -> None:
    assert duration(seconds) == said
