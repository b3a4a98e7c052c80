"""RTTM: what is written is read back to the millisecond, and what is no turn is an error with its line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.diarization import rttm
from parity.diarization.rttm import RttmError, parse, read, render, write

GOOD = "SPEAKER talk 1 0.100 0.200 <NA> <NA> anna <NA> <NA>"

milliseconds = st.tuples(st.integers(0, 4_000_000), st.integers(1, 100_000), st.integers(0, 3))


@given(st.lists(milliseconds, min_size=1, max_size=30))
def test_turns_are_read_back_to_the_millisecond(rows: list[tuple[int, int, int]]) -> None:
    turns = np.array([(begin / 1000, (begin + length) / 1000, who) for begin, length, who in rows])
    names = ["s0", "s1", "s2", "s3"]
    again = parse(render({"talk": turns}), "a.rttm", speakers=names)["talk"]
    assert sorted(again.tolist()) == sorted(turns.tolist())
    assert render({"talk": again}) == render({"talk": turns[np.lexsort((turns[:, 2], turns[:, 0]))]})


def test_times_are_rounded_to_the_millisecond() -> None:
    text = render({"talk": np.array([[1 / 3, 2 / 3, 0]])})
    assert text == "SPEAKER talk 1 0.333 0.334 <NA> <NA> s0 <NA> <NA>\n"
    assert parse(text, "a.rttm")["talk"].tolist() == [[0.333, 0.667, 0]]


def test_several_recordings_share_a_file(tmp_path: Path) -> None:
    one, other = np.array([[0.0, 1.0, 0], [0.5, 2.0, 1]]), np.array([[3.0, 4.5, 0]])
    path = tmp_path / "talks.rttm"
    write(path, {"one": one, "other": other})
    found = read(path)
    assert list(found) == ["one", "other"]
    assert found["one"].tolist() == one.tolist()
    assert found["other"].tolist() == other.tolist()


def test_speakers_are_numbered_by_when_they_first_speak_or_by_name() -> None:
    lines = [
        ";; by hand",
        "SPEAKER talk 1 5.0 1.0 <NA> <NA> anna <NA> <NA>",
        "",
        "SPEAKER talk 1 2.0 1.0 <NA> <NA> ben <NA> <NA>",
        "SPEAKER talk 1 8.0 1.0 <NA> <NA> ben <NA> <NA>",
    ]
    text = "\n".join(lines)
    assert parse(text, "a.rttm")["talk"].tolist() == [[2, 3, 0], [5, 6, 1], [8, 9, 0]]
    named = parse(text, "a.rttm", speakers=["anna", "carl", "ben"])["talk"]
    assert named.tolist() == [[2, 3, 2], [5, 6, 0], [8, 9, 2]]


def test_times_are_added_as_they_are_written() -> None:
    assert parse(GOOD, "a.rttm")["talk"].tolist() == [[0.1, 0.3, 0]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (GOOD.removesuffix(" <NA>"), "has 9 fields where 10 are expected: fill what is unknown with <NA>"),
        (f"{GOOD} <NA>", "has 11 fields"),
        (GOOD.replace("anna", "anna b"), "has 11 fields"),
        ("SPKR-INFO talk 1 <NA> <NA> <NA> unknown anna <NA> <NA>", "of the type 'SPKR-INFO': leave out all but"),
        (GOOD.replace("0.100", "-0.1"), "the beginning is -0.1: a turn begins at 0 or later"),
        (GOOD.replace("0.200", "-0.2"), "the duration is -0.2, not above 0"),
        (GOOD.replace("0.200", "0.000"), "the duration is 0.000, not above 0"),
        (GOOD.replace("0.200", "0,2"), "the duration is '0,2' where a number of seconds is expected"),
        (GOOD.replace("0.100", "<NA>"), "the beginning is '<NA>' where a number"),
        (GOOD.replace("0.100", "nan"), "the beginning is 'nan', which is not finite"),
        (GOOD.replace("0.200", "inf"), "the duration is 'inf', which is not finite"),
        (GOOD.replace("0.200", "9e999999"), "the duration is '9e999999', more seconds than any recording has"),
        (GOOD.replace("talk", "walk"), "is of 'walk', not of 'talk': keep each recording's turns in its own file"),
        (GOOD.replace("anna", "ann"), "nobody is called 'ann'; there are anna, ben"),
    ],
)
def test_a_wrong_line_is_refused_with_its_number_and_the_mend(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "talk.rttm"
    path.write_text(f";; head\n{GOOD}\n{line}\n{GOOD}\n")
    with pytest.raises(RttmError) as raised:
        read(path, "talk", ["anna", "ben"])
    assert str(raised.value).startswith(f"{path}: line 3")
    assert message in str(raised.value)


@pytest.mark.parametrize("text", ["", "\n;; nothing\n"])
def test_a_file_without_a_turn_is_refused(text: str) -> None:
    with pytest.raises(RttmError, match=r"a\.rttm: holds no turn at all"):
        parse(text, "a.rttm")


def test_a_file_that_is_missing_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RttmError, match="there is no such file"):
        read(tmp_path / "a.rttm")
    (tmp_path / "a.rttm").write_bytes(b"\xff\xfe")
    with pytest.raises(RttmError, match="is not UTF-8"):
        read(tmp_path / "a.rttm")


def test_what_rttm_cannot_say_is_not_written() -> None:
    turns = np.array([[0.0, 1.0, 0]])
    for name in ("my talk", "", " talk"):
        with pytest.raises(RttmError, match="can't be a name in RTTM"):
            rttm.render({name: turns})
    with pytest.raises(RttmError, match="shorter than a millisecond: leave it out"):
        rttm.render({"talk": np.array([[1.0, 1.0002, 0]])})
