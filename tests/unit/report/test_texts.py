"""The report for a pull request, and the one for what shows test results."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from parity.report import junit, markdown
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
            assert line.replace("\\|", "").count("|") == 7
    assert not inside


def test_failures_that_do_not_fit_are_counted() -> None:
    finding = Finding("out", "cosine", False, 0.1, Bound("min", 0.9, 1.0), "x" * 2000)
    many = tuple(replace(one, findings=(finding,), blame=None) for one in samples.record().verdicts)
    text = markdown.render(replace(samples.record(), verdicts=many))
    assert len(text) < 65_000
    left = len(many) - text.count("<details>")
    assert f"And {left} more failed checks" in text


def test_a_test_case_stands_for_each_verdict_and_each_that_is_missing() -> None:
    record = samples.record()
    lost = replace(record, expected=(*record.expected, samples.check("tail", "fp32", "lost")))
    root = ElementTree.fromstring(junit.render(lost))
    counts = {name: int(root.get(name, "-1")) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": len(record.verdicts) + 3, "failures": 5, "errors": 1, "skipped": 1}
    for suite in root.iter("testsuite"):
        assert int(suite.get("tests", "-1")) == len(suite.findall("testcase"))
        assert int(suite.get("failures", "-1")) == len(suite.findall("testcase/failure"))


def test_a_failed_test_case_says_why() -> None:
    root = ElementTree.fromstring(junit.render(samples.record()))
    texts = [failure.text or "" for failure in root.iter("failure")]
    assert any("looks like a gain of 1.5" in text for text in texts)


@pytest.mark.parametrize("partial", [False, True])
def test_a_run_without_a_verdict_has_a_failed_test_case(partial: bool) -> None:
    record = replace(samples.clean(), verdicts=(), expected=(), skipped=(), partial=partial)
    root = ElementTree.fromstring(junit.render(record))
    assert (root.get("tests"), root.get("failures")) == ("1", "1")


def test_a_skip_of_an_expected_check_is_a_failure() -> None:
    record = samples.clean()
    record = replace(record, expected=(*record.expected, samples.UNWANTED))
    root = ElementTree.fromstring(junit.render(record))
    assert (root.get("failures"), root.get("skipped")) == ("1", "0")


def test_no_text_of_others_breaks_the_xml() -> None:
    root = ElementTree.fromstring(junit.render(samples.hostile(HOSTILE + "\ud800\ufffe")))
    assert {element.tag for element in root.iter()} == {
        *("testsuites", "testsuite", "properties", "property", "testcase", "failure", "error", "skipped")
    }
