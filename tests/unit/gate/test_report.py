"""The gate's reports agree with each other, fit where they are shown, and take no word of others for markup."""

import json
from dataclasses import replace
from pathlib import Path

from parity.gate import report
from parity.gate.bounds import Loosening
from parity.gate.coverage import Problem
from parity.gate.gate import Outcome, Row, alone
from parity.gate.git import Revision
from parity.record.run import RunRecord
from parity.report.markdown import LONGEST
from tests.support import report_samples

ROWS = (Row("kokoro", "albert", 16, 0), Row("kokoro", "noise", 10, 2))


def outcome(record: RunRecord | None, *problems: Problem) -> Outcome:
    gone = (Loosening("kokoro.case.flight", "a recorded case", "no case", "too long for CI"),)
    base = Revision("main", "a" * 40)
    return Outcome(base, "b" * 40, ("x.py",), ROWS, "", gone, record, problems, ("a note",))


def nothing(key: str) -> None:
    """No evidence is at hand."""


def test_a_pass_says_what_was_affected_and_why() -> None:
    passed = outcome(report_samples.clean())
    said = report.render(passed)
    assert passed.passed
    assert said.startswith("# ✅ Gate PASSED: 2 of 26 checks measured anew, 1 file changed, and all 26 hold")
    assert "| kokoro | noise | 2 of 10 |" in said
    assert "| kokoro | albert | unchanged |" in said
    assert "- x.py" in said
    assert "too long for CI" in said
    assert "## ✅ Parity PASSED" in said
    against = report.render(replace(passed, compared="20261120T185503-1a2b3c"))
    assert "2 of 26 checks affected" in against
    assert "Compared with the evidence of run 20261120T185503-1a2b3c at the base." in against


def test_a_file_whose_name_is_not_utf_8_is_reported(tmp_path: Path) -> None:
    name = b"caf\xe9.py".decode(errors="surrogateescape")
    written = report.write(replace(outcome(report_samples.clean()), files=(name,)), tmp_path, nothing)
    assert json.loads(written.json.read_text(encoding="utf-8"))["files"] == [name]
    assert "- caf .py" in written.markdown.read_text(encoding="utf-8")


def test_a_gate_is_alone_where_the_folder_of_the_state_is_new(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.parity]\nstate = "build/parity"\n')
    with alone(tmp_path):
        assert (tmp_path / "build/parity/gate.lock").is_file()


def test_a_problem_of_the_gate_fails_every_report(tmp_path: Path) -> None:
    written = report.write(
        outcome(report_samples.clean(), Problem("kokoro.noise", "nobody said why")), tmp_path, nothing
    )
    assert "❌ Gate NOT PASSED: 1 problem" in written.markdown.read_text()
    assert "nobody said why" in written.markdown.read_text()
    assert "nobody said why" in written.page.read_text()
    assert 'data-state="failed"' in written.page.read_text()
    assert json.loads(written.json.read_text())["problems"] == ["kokoro.noise: nobody said why"]


def test_no_record_fails_every_report(tmp_path: Path) -> None:
    lost = outcome(None, Problem("the run", "no record came"))
    written = report.write(lost, tmp_path)
    assert not lost.passed
    assert json.loads(written.json.read_text())["run"] is None
    assert 'data-state="failed"' in written.page.read_text()


def test_without_a_record_nothing_passes_even_if_nobody_names_a_problem() -> None:
    assert not outcome(None).passed


def test_a_failed_run_is_no_pass_of_the_gate() -> None:
    assert not outcome(report_samples.record()).passed


def test_it_fits_into_a_comment_however_much_is_wrong() -> None:
    record = report_samples.record()
    first = record.failed[0]
    many = tuple(replace(first, check=replace(first.check, case=f"case{number}")) for number in range(300))
    flood = [Problem(f"check{number}", "x" * 400) for number in range(300)]
    said = report.render(outcome(replace(record, verdicts=(*record.verdicts, *many)), *flood))
    assert len(said) <= LONGEST
    assert "and 275 more: see gate.json" in said
    assert "more failed checks: see the report" in said


def test_what_others_wrote_is_shown_and_not_obeyed(tmp_path: Path) -> None:
    text = "<script>alert(1)</script> | [x](http://x) @someone"
    hostile = replace(
        outcome(report_samples.hostile(text), Problem(text, text)),
        rows=(Row(text, text, 1, 1),),
        files=(text,),
        base=Revision(text, "a" * 40),
    )
    written = report.write(hostile, tmp_path, nothing)
    assert "<script>alert" not in written.page.read_text()
    head = written.markdown.read_text().partition("```")[0]
    assert "<script>" not in head
    assert " @someone" not in head


def test_what_an_earlier_gate_said_can_be_removed(tmp_path: Path) -> None:
    written = report.write(outcome(report_samples.clean()), tmp_path, nothing)
    written.remove()
    assert not list(written.markdown.parent.iterdir())
    written.remove()
