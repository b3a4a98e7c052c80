"""The report for a pull request, and the one for what shows test results."""

from __future__ import annotations

from dataclasses import replace

from parity.record.run import LeftOut
from parity.report import html, markdown
from parity.report.summary import exercised, properties, systems
from parity.report.terminal import table
from parity.verdict import Bound, Finding
from tests.support import report_samples as samples

HOSTILE = "a|b`c```\n| d | <script>alert(1)</script> [x](y) @someone #1 \x00\x1b[31m *z* ]]>"


def test_a_pull_request_reads_the_verdict_first_and_the_worst_stage_first() -> None:
    lines = markdown.render(samples.record()).splitlines()
    assert lines[0] == "## ❌ Parity FAILED: 5 problems"
    rows = [line for line in lines if line.startswith("| ✗") or line.startswith("| ✓")]
    assert [row[2] for row in rows] == ["✗"] * 5 + ["✓"] * 2


def test_each_failure_is_folded_with_its_blame() -> None:
    text = markdown.render(samples.record())
    assert text.count("<details>") == text.count("</details>") == 4
    assert "op 41 of 253" in text


def test_what_was_loosened_and_not_run_is_said_in_markdown() -> None:
    text = markdown.render(samples.record())
    assert "loosened: kokoro" in text
    assert "device RTFx: no Core ML on this machine" in text


def test_a_partial_run_is_loud_in_markdown() -> None:
    text = markdown.render(replace(samples.clean(), partial=True))
    assert text.startswith("## ⚠️ Parity PASSED")
    assert "this is not the full verdict" in text
    assert "✅" not in text


def test_no_text_of_others_breaks_out_of_markdown() -> None:
    text = markdown.render(samples.hostile(HOSTILE))
    inside = False
    for line in text.splitlines():
        if line.startswith("````"):
            inside = not inside
        if inside:
            continue
        assert "<script" not in line
        assert "@someone" not in line
        if line.startswith("|"):
            assert line.replace("\\|", "").count("|") == 8
    assert not inside


def test_failures_that_do_not_fit_are_counted() -> None:
    finding = Finding("out", "cosine", False, 0.1, Bound("min", 0.9, 1.0), "x" * 2000)
    many = tuple(replace(one, findings=(finding,), blame=None) for one in samples.record().verdicts)
    text = markdown.render(replace(samples.record(), verdicts=many))
    assert len(text) < 65_000
    left = len(many) - text.count("<details>")
    assert f"And {left} more failed checks" in text


def test_a_test_report_has_the_facts_of_a_check_and_its_worst_gate() -> None:
    verdict = next(one for one in samples.record().failed if one.check.stage == "tail")
    facts = dict(properties(verdict))
    assert [facts[name] for name in ("system", "stage", "variant", "case", "mode")] == [
        *("kokoro", "tail", "fp32", "hello", "forced")
    ]
    assert facts["worst_gate"] == "audio rms ratio 1.5 not within 0.005 of 1 (fp32, hello, forced)"


def test_a_partial_run_counts_and_names_what_it_left_out() -> None:
    left = (
        *(LeftOut(f"albert-{number}", "kokoro", "albert") for number in range(2)),
        LeftOut("tiny-gates", "tiny", "gates"),
    )
    record = replace(samples.clean(), partial=True, left_out=left)
    assert record.passed
    for said in (markdown.render(record), table(record), html.render(record, lambda key: None)):
        assert "3 checks: kokoro 2 (albert 2), tiny 1" in said


def test_a_run_from_which_something_else_removed_checks_is_no_pass() -> None:
    removed = LeftOut("albert-0", "kokoro", "albert", "-k 'not albert' in PYTEST_ADDOPTS removed them")
    (problem,) = replace(samples.clean(), left_out=(removed,)).problems()
    assert problem == f"not judged: 1 check: kokoro 1 (albert 1): {removed.by}"


def test_a_column_counts_inputs_and_edges_that_held_and_the_share_of_the_host_code() -> None:
    probed = samples.check("noise", "fp32", "hello", "probed").verdict(
        [Finding("F0", "moves", True), Finding("phase", "moves", False), Finding("frames 2", "edge", True)]
    )
    glue = samples.check("chain", "glue", "short", "exercised").verdict(
        [
            Finding("noise.F0", "exercised", True),
            Finding("noise.seed", "exercised", True),
            Finding("host", "branches", False, 0.909),
        ]
    )
    (group,) = systems(replace(samples.record(), verdicts=(probed, glue), errors=()))
    assert exercised(group) == "inputs 2/3 edges 1/1 glue 90 %"
