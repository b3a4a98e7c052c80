"""The page as text: what it says of a run, and that it needs nothing from elsewhere."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from parity.record.run import RunRecord, excerpt, load
from parity.report import write
from parity.report.html import render
from parity.report.summary import headline, proven, trends
from tests.support import report_samples as samples


def none(key: str) -> Path | None:
    return None


def shown(record: RunRecord) -> str:
    return render(record, none)


def test_the_page_asks_nothing_of_the_network(tmp_path: Path) -> None:
    page = render(samples.record(), samples.evidence(tmp_path), samples.history(3))
    assert not re.search(r"https?:|url\(|@import|<link|<iframe", page)
    assert set(re.findall(r'(?:src|href)="([^"#]{0,15})', page)) <= {"data:image/png;", ""}
    assert len(page) < 3_000_000


def test_a_run_that_holds_says_what_that_proves() -> None:
    page = shown(samples.clean())
    assert 'data-state="passed"' in page.split("<head>")[0] or 'data-state="passed"' in page
    assert "Proven: graph pass (milrun, declared)." in page
    assert "Failures" not in page


def test_a_pass_on_milrun_is_never_called_a_device_pass() -> None:
    record = samples.clean()
    assert "device pass" not in shown(record)
    elsewhere = samples.on_core_ml(record)
    assert "device pass" not in proven(elsewhere)
    assert proven(replace(elsewhere, machine={"system": "Darwin"})) == "device pass (Core ML)"


def test_a_run_of_traceable_modules_alone_proves_nothing_about_artifacts() -> None:
    record = samples.clean()
    modules = replace(record, verdicts=tuple(one for one in record.verdicts if one.check.mode == "module"))
    assert proven(modules) == "module pass (no artifact was checked)"


def test_a_partial_run_says_so_before_anything_else() -> None:
    page = shown(replace(samples.clean(), partial=True))
    body = page.split("<main>")[1]
    assert body.index("A partial run") < body.index("<h1")
    assert "Passed" not in body.split("</header>")[0]
    assert "PARTIAL" in headline(replace(samples.clean(), partial=True))


def test_a_run_without_a_verdict_is_a_failure_on_the_page() -> None:
    page = shown(replace(samples.clean(), verdicts=(), expected=()))
    assert 'data-state="failed"' in page
    assert "Nothing was judged" in page


def test_a_check_that_never_came_and_one_that_raised_are_named() -> None:
    record = samples.clean()
    page = shown(replace(record, expected=(*record.expected, samples.check("tail", "fp32", "lost"))))
    assert "kokoro-tail-fp32-lost-forced-milrun-declared" in page
    assert "out of memory" in shown(samples.record())


def test_every_finding_is_on_the_page() -> None:
    page = shown(samples.record())
    assert page.count("max abs</td>") >= sum(f.gate == "max_abs" for v in samples.record().verdicts for f in v.findings)


def test_blame_says_where_it_begins_and_what_it_looks_like() -> None:
    page = shown(samples.record())
    assert "a gain of 1.5 (+3.52 dB)" in page
    assert "conv_transpose, op 17 of 19" in page
    assert "the graph is wrong, not its precision" in page


def test_damaged_evidence_is_told_and_spoils_no_page(tmp_path: Path) -> None:
    (tmp_path / "audio.safetensors").write_bytes(b"not at all")
    page = render(samples.record(), lambda key: tmp_path)
    assert "audio.safetensors is damaged" in page
    assert "<audio" not in page


def test_evidence_that_is_gone_is_told_for_a_failed_check() -> None:
    assert "its evidence is no longer kept" in shown(samples.record())


def test_equal_audio_is_said_to_be_equal_and_takes_no_room(tmp_path: Path) -> None:
    samples.audio(tmp_path, samples.speech())
    page = render(samples.clean(), lambda key: tmp_path)
    assert "is the reference, sample by sample" in page
    assert "<audio" not in page


def test_a_page_grows_no_further_than_its_budget_and_names_what_it_left_out(tmp_path: Path) -> None:
    hiss = np.random.default_rng(0).standard_normal(24_000 * 10).astype(np.float32) * 0.1
    for index in range(8):
        samples.audio(tmp_path / str(index), np.roll(hiss, index), hiss + index * 0.001)
    kept = [replace(one, evidence=str(index)) for index, one in enumerate(samples.clean().verdicts[:8])]
    record = replace(samples.clean(), verdicts=tuple(kept), expected=())
    page = render(record, lambda key: tmp_path / key)
    assert len(page) < 6_000_000
    assert page.count("is left out, for the page would grow too large") == 8 - page.count("data-player")


def test_trends_compare_only_runs_that_executed_alike() -> None:
    record = samples.record()
    alike, other = samples.record("20261101T120000-aaaaaa", 2.0), replace(samples.record("20261102T120000-bbbbbb"))
    runs = [alike, replace(other, runtime="coreml"), replace(other, weights="hub"), record]
    line = trends(record, map(excerpt, runs))["kokoro albert relative_l2"]
    assert len(line) == 2
    assert line[0] == pytest.approx(2 * (line[1] or 0))


def test_words_of_others_are_text_in_elements_and_in_attributes(tmp_path: Path) -> None:
    samples.audio(tmp_path, 0.5 * samples.speech())
    samples.meeting(tmp_path, reference=samples.talk(), candidate=samples.talk()[1:])
    page = render(samples.hostile('<b>"&\x00'), lambda key: tmp_path)
    assert page.count("<details") == 6
    assert "<b>" not in page
    assert "\x00" not in page
    assert "<dd>&lt;b&gt;&#34;&amp;�</dd>" in page
    assert 'data-stage="&lt;b&gt;&#34;&amp;�/' in page


def test_all_reports_of_a_run_are_written_and_the_record_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = write(samples.record(), tmp_path / "run", none)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "excerpt.json",
        "report.html",
        "report.md",
        "run.json",
    ]
    assert load(page.with_name("run.json")).problems() == samples.record().problems()
    monkeypatch.setattr("parity.report.markdown.render", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write(samples.record(), tmp_path / "broken", none)
    assert not (tmp_path / "broken" / "run.json").exists()
