"""The record of a run: what makes it a pass, what it refuses to be read from, and that half a run is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from parity.record import run as session
from parity.record.run import Errored, RunRecord, SessionError
from parity.report.summary import trends
from tests.support import report_samples as samples


@pytest.fixture
def clean() -> RunRecord:
    return samples.clean()


def test_a_run_is_read_as_it_was_saved(tmp_path: Path, clean: RunRecord) -> None:
    session.save(clean, tmp_path)
    assert session.load(tmp_path) == clean
    assert clean.passed
    assert clean.problems() == []


def test_values_that_are_no_numbers_survive(tmp_path: Path) -> None:
    written = session.save(samples.record(), tmp_path).read_bytes()
    assert b'"value": "NaN"' in written
    assert session.save(session.load(tmp_path), tmp_path).read_bytes() == written


def test_a_run_without_a_verdict_is_no_pass(clean: RunRecord) -> None:
    assert replace(clean, verdicts=(), expected=()).problems() == ["nothing was judged: the run has no verdict at all"]


def test_an_expected_check_without_a_verdict_is_a_failure(clean: RunRecord) -> None:
    (problem,) = replace(clean, verdicts=clean.verdicts[1:]).problems()
    assert problem == f"{clean.verdicts[0].id}: expected, but no verdict came"


def test_a_skip_of_an_expected_check_is_a_failure_with_its_reason(clean: RunRecord) -> None:
    skipped = replace(clean, expected=(*clean.expected, samples.UNWANTED))
    assert skipped.problems() == [f"{clean.skipped[0].id}: expected, but skipped: case 'expedition' is not short"]


def test_a_check_that_raised_is_a_failure(clean: RunRecord) -> None:
    assert replace(clean, errors=(Errored("some-check", "boom"),)).problems() == ["some-check: the check raised: boom"]


def test_a_failed_verdict_and_one_that_compared_nothing_are_failures(clean: RunRecord) -> None:
    broken = samples.record().failed[-1]
    empty = replace(clean.verdicts[0], findings=())
    found = replace(clean, verdicts=(*clean.verdicts[1:], empty, broken)).problems()
    assert found[0].endswith("nothing was compared")
    assert "relative_l2 0.5 breaks ≤ 0.02, and 2 more" in found[1]


def test_two_verdicts_for_one_check_are_a_failure(clean: RunRecord) -> None:
    assert replace(clean, verdicts=(*clean.verdicts, clean.verdicts[0])).problems() == [
        f"{clean.verdicts[0].id}: 2 verdicts where one is expected"
    ]


VERDICTS = "record", "verdicts"


def _drop(*path: str) -> Callable[[dict[str, Any]], object]:
    def change(data: Any) -> None:
        *way, last = path
        for step in way:
            data = data[step]
        del data[last]

    return change


def _put(*path: Any) -> Callable[[dict[str, Any]], object]:
    def change(data: Any) -> None:
        *way, last, value = path
        for step in way:
            data = data[step]
        data[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (_put("schema", 1), "schema 1"),
        (_put("schema", None), "schema is None"),
        (_drop("schema"), "schema: Field required"),
        (_put("colour", "red"), "colour is 'red': Extra"),
        (_put("passed", False), "says passed: False, its findings say True"),
        (_put(*VERDICTS, 0, "findings", 0, "passed", False), "says passed: True, its findings say False"),
        (_put(*VERDICTS, 0, "findings", []), "says passed: True"),
        (_put(*VERDICTS, 0, "findings", 4, "value", 0.2), "says passed: True of bert_dur: cosine 0.2"),
        (_drop("record", "expected"), "record.expected: Field required"),
        (_drop("record", "verdicts"), "record.verdicts: Field required"),
        (_put("record", "colour", "red"), "record.colour: Unexpected"),
        (_put("record", "dirty", 0), "dirty is 0"),
        (_put("record", "seconds", "1"), "seconds is '1'"),
        (_put("record", "seconds", True), "seconds is True"),
        (_put("record", "cases", "hello"), "cases is 'hello'"),
        (_put("record", "started", "yesterday"), "started is 'yesterday'"),
        (_put("record", "machine", "cores", [2]), "machine.cores"),
        (_put(*VERDICTS, 0, "check", "mode", "vague"), "mode is 'vague': Input should be 'module', 'forced'"),
        (_put(*VERDICTS, 0, "findings", 0, "value", "high"), "value is 'high'"),
        (_put(*VERDICTS, 0, "blame", {}), "blame.stage: Field required"),
        (_put(*VERDICTS, 0, 3), r"verdicts\[0\] is 3"),
        (_put("record", "errors", [{"id": "x"}]), r"errors\[0\].message: Field required"),
    ],
)
def test_a_record_that_is_not_as_it_should_be_is_refused(
    tmp_path: Path, clean: RunRecord, change: Callable[[dict[str, Any]], object], fault: str
) -> None:
    path = session.save(clean, tmp_path)
    data = json.loads(path.read_bytes())
    change(data)
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(SessionError, match=fault) as raised:
        session.load(tmp_path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"schema": NaN}', b"[" * 100_000])
def test_a_file_that_is_no_record_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(SessionError, match=r"run\.json"):
        session.load(tmp_path)


def test_a_run_that_is_not_there_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(SessionError, match="pytest -m parity"):
        session.load(tmp_path)


def test_the_verdicts_of_all_workers_come_together(tmp_path: Path, clean: RunRecord) -> None:
    for verdict in reversed(clean.verdicts):
        session.add(tmp_path, verdict)
    assert session.collect(tmp_path) == sorted(clean.verdicts, key=lambda verdict: verdict.id)


def test_a_second_verdict_of_one_check_never_hides_the_first(tmp_path: Path, clean: RunRecord) -> None:
    session.add(tmp_path, replace(clean.verdicts[0], findings=()))
    with pytest.raises(SessionError, match="must not share an id"):
        session.add(tmp_path, clean.verdicts[0])
    assert not session.collect(tmp_path)[0].passed


@pytest.mark.parametrize("name", ["../../escape", "a/b", "..", "x\x00y", "a\\b", "%2e"])
def test_a_verdict_stays_in_its_folder_whatever_its_name(tmp_path: Path, clean: RunRecord, name: str) -> None:
    verdict = replace(clean.verdicts[0], check=samples.check("tail", "fp32", name, system=name))
    path = session.add(tmp_path / "run", verdict)
    assert path.parent == tmp_path / "run" / "verdicts"
    assert [path.parent.name for path in tmp_path.rglob("*.json")] == ["verdicts"]
    assert session.collect(tmp_path / "run") == [verdict]


def test_a_verdict_under_another_name_is_refused(tmp_path: Path, clean: RunRecord) -> None:
    path = session.add(tmp_path, clean.verdicts[0])
    path.rename(path.with_name("other.json"))
    with pytest.raises(SessionError, match="holds the verdict"):
        session.collect(tmp_path)


def test_a_run_that_was_killed_is_never_taken_for_a_run(tmp_path: Path, clean: RunRecord) -> None:
    assert session.latest(tmp_path) is None
    session.add(session.folder_of(tmp_path, "20261130T000000-ffffff"), clean.verdicts[0])
    assert session.latest(tmp_path) is None
    session.save(clean, session.folder_of(tmp_path, clean.id))
    assert session.latest(tmp_path) == clean


def test_the_newest_run_is_the_latest_and_history_begins_with_the_oldest(tmp_path: Path) -> None:
    ids = ["20261103T120000-cccccc", "20261101T120000-aaaaaa", "20261102T120000-bbbbbb"]
    for id in ids:
        session.save(samples.clean(id), session.folder_of(tmp_path, id))
    latest = session.latest(tmp_path)
    assert latest is not None
    assert latest.id == ids[0]
    assert [run.id for run in session.history(tmp_path)] == sorted(ids)
    assert [run.id for run in session.history(tmp_path, limit=1)] == [ids[0]]


def test_history_leaves_out_what_another_version_wrote_but_not_what_is_damaged(tmp_path: Path) -> None:
    for id in ("20261101T120000-aaaaaa", "20261102T120000-bbbbbb"):
        session.save(samples.clean(id), session.folder_of(tmp_path, id))
    old = session.folder_of(tmp_path, "20261101T120000-aaaaaa") / "run.json"
    old.write_text('{"schema": 0}', encoding="utf-8")
    assert [run.id for run in session.history(tmp_path)] == ["20261102T120000-bbbbbb"]
    old.write_text("{", encoding="utf-8")
    with pytest.raises(SessionError, match="damaged"):
        session.history(tmp_path)


def test_history_shows_the_trends_of_whole_records_without_reading_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = samples.runs(3)
    for run in runs:
        session.save(run, session.folder_of(tmp_path, run.id))
    expected = trends(samples.record(), samples.history(3))
    assert any(None not in line and len(line) == 4 for line in expected.values())
    records = [session.folder_of(tmp_path, run.id) / "run.json" for run in runs]
    with monkeypatch.context() as unreadable:
        whole = Path.read_bytes
        unreadable.setattr(Path, "read_bytes", lambda path: pytest.fail("read") if path in records else whole(path))
        assert trends(samples.record(), session.history(tmp_path)) == expected
    (tmp_path / "runs" / runs[0].id / "excerpt.json").unlink()
    (tmp_path / "runs" / runs[1].id / "excerpt.json").write_text("{")
    assert trends(samples.record(), session.history(tmp_path)) == expected


@pytest.mark.parametrize("id", ["", "..", "../x", "a/b", ".hidden", "x" * 101])
def test_an_id_that_would_leave_the_folder_of_runs_is_refused(tmp_path: Path, id: str) -> None:
    with pytest.raises(SessionError, match="not an id of a run"):
        session.folder_of(tmp_path, id)


def test_a_new_id_sorts_by_time_and_is_a_folder() -> None:
    first, second = (session.new_id(datetime(2026, 11, day, 18, 55, 3, tzinfo=UTC)) for day in (20, 21))
    assert first.startswith("20261120T185503-")
    assert first < second
    assert session.folder_of(Path(), first).name == first
