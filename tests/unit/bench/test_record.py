"""The bench as a report shows it, and as it is read back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from parity import report
from parity.bench import record as records
from parity.bench.record import (
    ArtifactFacts,
    BenchRecord,
    BenchRecordError,
    CaseTimes,
    StepTimes,
    SystemBench,
    table,
)
from parity.verdict import Bound, Finding
from tests.support import report_samples as samples

HOSTILE = "<script>alert(1)</script>|x`\x1b[31m"


def sample(id: str = "20261120T185503-1a2b3c", text: str = "hello") -> BenchRecord:
    case = CaseTimes(
        case=text,
        sizes={"tokens": 14, "frames": 33},
        t_enc=14,
        audio_seconds=0.825,
        rounds=6,
        chain_ms=1390.4,
        rtfx=0.59,
        ratio=0.96,
        stage_ms={text: 1.0},
        stage_ratio={text: 2.0},
    )
    artifacts = (
        ArtifactFacts(stage=text, variant="fp16-pal8", size_mb=49.23, load_s=0.75, first_run_ms=740.4),
        ArtifactFacts(stage="tail", variant="fp32", size_mb=0.09, load_s=None, first_run_ms=None),
    )
    slower = Finding("vocoder", "baseline", False, 1.3, Bound("max", 1.1, 0.0, "× eager"), f"slower: {text}")
    judged = {"kokoro-vocoder": (slower,), "kokoro-chain": (slower,)}
    machine: dict[str, str | int] = {"processor": text, "cores": 2, "compute_units": "declared"}
    return BenchRecord(
        id=id,
        started="2026-11-20T18:55:03+00:00",
        machine=machine,
        partial=False,
        systems=(SystemBench(system="kokoro", cases=(case,), artifacts=artifacts),),
        judged=judged,
        errors={},
        notes=("no baseline",),
    )


def test_a_bench_is_read_as_it_was_saved(tmp_path: Path) -> None:
    odd = {"odd": (Finding("x", "load_s", False, float("inf")),)}
    for bench in (sample(), replace(sample(), judged=odd, errors={"x": "raised"})):
        records.save(bench, tmp_path)
        assert records.load(tmp_path) == bench


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 0}', '{"schema": 6}', '{"schema": 6, "id": 3}'])
def test_a_damaged_bench_is_refused_with_a_mend(tmp_path: Path, text: str) -> None:
    (tmp_path / records.NAME).write_text(text)
    with pytest.raises(BenchRecordError, match="delete it and run `pytest -m bench`"):
        records.load(tmp_path)


def test_a_claim_that_its_findings_do_not_bear_out_is_refused(tmp_path: Path) -> None:
    path = records.save(sample(), tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), "passed": True}))
    with pytest.raises(BenchRecordError, match="says passed: True, its findings say False"):
        records.load(path)


def test_a_bench_without_a_finding_or_with_an_error_does_not_pass() -> None:
    held = replace(sample(), judged={"a": (Finding("a", "outputs", True),)})
    assert held.passed
    assert not replace(held, judged={}).passed
    assert not replace(held, judged={"a": ()}).passed
    assert not replace(held, errors={"b": "raised"}).passed
    assert not sample().passed


def test_the_table_has_a_row_for_each_case_and_each_artifact() -> None:
    lines = table(sample()).splitlines()
    assert lines[3].split() == "case T_enc frames audio s rounds chain ms RTFx × eager hello".split()
    assert lines[4].split() == "hello 14 33 0.82 6 1390.4 0.59 0.96 1.0".split()
    assert lines[7].split() == "hello fp16-pal8 49.23 0.75 740.4 2.00".split()
    assert lines[8].split() == "tail fp32 0.09 – – –".split()
    assert lines[-3:] == ["✗ slower: hello  (kokoro-vocoder and 1 more)", "no baseline", "bench FAILED  ✓ 0  ✗ 2"]


def test_steps_are_shown_with_the_bucket_that_they_ran_in() -> None:
    (system,) = sample().systems
    (case,) = system.cases
    steps = {
        "denoiser": StepTimes(count=8, ms=152.0, growth=1.01, bucket=512),
        "decoder": StepTimes(count=2, ms=5.0, growth=1),
    }
    lines = table(replace(sample(), systems=(replace(system, cases=(replace(case, steps=steps),)),))).splitlines()
    rows = {cells[1]: cells[2:] for line in lines if (cells := line.split())[1:2] and cells[1] in steps}
    assert rows == {"denoiser": ["512", "8", "152.000", "1.01"], "decoder": ["–", "2", "5.000", "1.00"]}


def test_columns_without_a_value_are_left_out() -> None:
    (system,) = sample().systems
    (case,) = system.cases
    listener = replace(system, cases=(replace(case, t_enc=0, sizes={}, ratio=None),), artifacts=system.artifacts[1:])
    lines = table(replace(sample(), systems=(listener,))).splitlines()
    assert lines[3].split() == "case audio s rounds chain ms RTFx hello".split()
    assert lines[6].split() == "artifact MB".split()
    silent = replace(listener, cases=(replace(case, t_enc=0, sizes={}, ratio=None, audio_seconds=0),))
    lines = table(replace(sample(), systems=(silent,))).splitlines()
    assert lines[3].split() == "case rounds chain ms hello".split()


def test_a_system_that_was_timed_with_another_refers_to_it() -> None:
    (system,) = sample().systems
    twin = replace(system, system="twin", same_as="kokoro")
    lines = table(replace(sample(), systems=(system, twin))).splitlines()
    after = lines[lines.index("twin") :]
    assert after[1] == "  timed with kokoro: the same artifacts, glue and cases"
    assert after[3].split() == "artifact MB load s first run ms × eager".split()


def test_a_report_shows_the_bench_of_its_run(tmp_path: Path) -> None:
    run = samples.clean()
    records.save(sample(run.id), tmp_path / "runs" / run.id)
    page = report.write(run, tmp_path / "runs" / run.id, lambda key: None)
    for text in (page.read_text(), page.with_name("report.md").read_text()):
        assert "This run" in text
        assert "1390.4" in text
        assert "slower: hello" in text


def test_a_bench_of_another_run_is_said_to_be_one(tmp_path: Path) -> None:
    records.save(sample("20261119T000000-ffffff"), tmp_path / "runs/20261119T000000-ffffff")
    run = samples.clean()
    page = report.write(run, tmp_path / "runs" / run.id, lambda key: None)
    assert "Another run, 20261119T000000-ffffff" in page.read_text()


def test_without_any_bench_a_report_says_nothing_of_speed(tmp_path: Path) -> None:
    run = samples.clean()
    assert "Speed" not in report.write(run, tmp_path / "runs" / run.id, lambda key: None).read_text()


def test_no_text_of_others_breaks_out_of_the_bench(tmp_path: Path) -> None:
    run = samples.clean()
    records.save(sample(run.id, HOSTILE), tmp_path / "runs" / run.id)
    page = report.write(run, tmp_path / "runs" / run.id, lambda key: None)
    said = page.read_text() + page.with_name("report.md").read_text()
    assert "<script>alert" not in said
    assert "\x1b" not in said + table(sample(text=HOSTILE))
