"""Who speaks when in the report: read with suspicion, drawn so that no difference is too short to be found."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from parity.compare.evidence import LARGEST_TURNS, MediaError, Meeting, read_meeting, with_turns
from parity.diarization import stretches
from parity.diarization.turns import Turns, merged, turns
from parity.record.run import RunRecord
from parity.report.html import render
from parity.report.speaking import BUDGET, COLUMNS, EXCERPT, NARROWEST, TICKS, bands, lasts, ticks, timeline
from parity.report.summary import Evidence
from tests.support import report_samples as samples
from tests.support.masks import mask

RATE = 12.5


def of(candidate: Turns, reference: Turns | None = None, truth: Turns | None = None) -> Meeting:
    return Meeting(samples.talk() if reference is None else reference, candidate, truth)


def drawn(found: Meeting) -> ElementTree.Element:
    shown = bands(found)
    return ElementTree.fromstring(timeline(shown, 0.0, lasts(shown)))


def speaking(record: RunRecord, evidence: Evidence) -> str:
    """The section of the page."""
    return "".join(re.findall("<h2>Who speaks when</h2>.*?</section>", render(record, evidence), re.DOTALL))


def share(element: ElementTree.Element, name: str) -> float:
    return float(element.get(name, "").removesuffix("%"))


def a_long_meeting(seconds: float = 3600.0) -> Turns:
    random = np.random.default_rng(5)
    begins = np.round(np.sort(random.uniform(0, seconds - 30, 1500)), 2)
    rows = np.column_stack([begins, begins + np.round(random.uniform(0.1, 12, 1500), 2), random.integers(0, 4, 1500)])
    return merged(rows)


def test_what_is_without_and_shared_is_what_frames_say() -> None:
    random = np.random.default_rng(1)
    for density in (0.1, 0.5, 0.9):
        frames = random.random((400, 2)) < density
        one, other = (stretches.of(turns(frames, RATE), speaker) for speaker in (0, 1))
        for found, expected in (
            (stretches.without(one, other), frames[:, 0] & ~frames[:, 1]),
            (stretches.without(other, one), frames[:, 1] & ~frames[:, 0]),
        ):
            rows = np.column_stack([found, np.zeros(len(found))])
            assert np.array_equal(mask(rows, 400, RATE, 1)[:, 0], expected)
        assert stretches.shared(one, other) == pytest.approx(np.count_nonzero(frames.all(axis=1)) / RATE)


def test_the_fullest_window_holds_a_burst_rather_than_a_single_long_one_far_off() -> None:
    burst = np.array([[100.0 + 2 * at, 101.0 + 2 * at] for at in range(10)])
    assert stretches.fullest([np.array([[20.0, 23.0]]), burst, stretches.NONE], 30.0) == 100.0
    assert stretches.fullest([stretches.NONE], 30.0) == 0.0


def test_turns_are_read_as_they_were_written(tmp_path: Path) -> None:
    said = samples.talk()
    samples.meeting(tmp_path, "host.speaking", reference=said, candidate=said[1:], truth=said[2:])
    samples.meeting(tmp_path, reference=said, candidate=said)
    assert with_turns(tmp_path) == ["host.speaking", "speaking"]
    found = read_meeting(tmp_path, "host.speaking")
    assert np.allclose(found.candidate, said[1:])
    assert not found.agreed
    assert read_meeting(tmp_path, "speaking").truth is None
    assert read_meeting(tmp_path, "speaking").agreed


def test_who_says_nothing_at_all_is_silent_and_not_damaged(tmp_path: Path) -> None:
    samples.meeting(tmp_path, reference=samples.talk(), candidate=np.zeros((0, 3)))
    found = read_meeting(tmp_path, "speaking")
    assert not len(found.candidate)
    assert sum(stretches.seconds(one.missed) for one in bands(found)) == pytest.approx(9 * 4.4)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"SPEAKER candidate 1 0.5 1 <NA> <NA> anna <NA> <NA>\n", "nobody is called 'anna'"),
        (b"SPEAKER another 1 0.5 1 <NA> <NA> s0 <NA> <NA>\n", "line 1 is of 'another'"),
        (b"SPEAKER candidate 1 nan 1 <NA> <NA> s0 <NA> <NA>\n", "not finite"),
        (b"SPEAKER candidate 1 0.5 1e9 <NA> <NA> s0 <NA> <NA>\n", "ends at 1e"),
        (b"SPEAKER candidate 1 9e999999 9e999999 <NA> <NA> s0 <NA> <NA>\n", "more seconds than any recording has"),
        (b"\n", "holds no turn at all"),
        (b"\xff\xfe", "not UTF-8"),
        (b"x" * (LARGEST_TURNS + 1), "bytes"),
    ],
)
def test_a_file_that_is_no_meeting_is_refused_by_name(tmp_path: Path, content: bytes, fault: str) -> None:
    samples.meeting(tmp_path, reference=samples.talk(), candidate=samples.talk())
    (tmp_path / "speaking.candidate.rttm").write_bytes(content)
    with pytest.raises(MediaError, match=fault) as error:
        read_meeting(tmp_path, "speaking")
    assert str(tmp_path / "speaking.candidate.rttm") in str(error.value)


def test_a_file_that_is_missing_or_a_folder_is_refused_by_name(tmp_path: Path) -> None:
    samples.meeting(tmp_path, reference=samples.talk())
    with pytest.raises(MediaError, match=r"speaking\.candidate\.rttm is missing"):
        read_meeting(tmp_path, "speaking")
    (tmp_path / "speaking.candidate.rttm").mkdir()
    with pytest.raises(MediaError, match=r"speaking\.candidate\.rttm is missing or not a file"):
        read_meeting(tmp_path, "speaking")


def test_the_truth_is_put_to_whom_of_upstream_it_fits_and_a_stranger_gets_a_band() -> None:
    said = samples.talk()
    real = np.concatenate([np.column_stack([said[:, :2], (said[:, 2] + 1) % 3]), [[38.0, 39.0, 3]]])
    shown = bands(of(said, truth=real))
    assert [(one.name, one.real) for one in shown] == [("s0", "s1"), ("s1", "s2"), ("s2", "s0"), ("–", "s3")]
    assert all(np.array_equal(one.truth, one.reference) for one in shown[:3])
    assert lasts(shown) == 39.0


def test_a_column_in_which_only_the_artifact_speaks_has_a_band() -> None:
    shown = bands(of(np.concatenate([samples.talk(), [[1.0, 2.0, 5]]])))
    assert [one.name for one in shown] == ["s0", "s1", "s2", "s5"]
    assert np.array_equal(shown[3].invented, [[1.0, 2.0]])
    assert not len(shown[3].missed)


def test_what_is_missed_is_a_striped_line_below_what_is_invented() -> None:
    said = samples.talk()
    svg = drawn(of(np.concatenate([said[:2], said[3:], [[14.0, 15.0, 2]]])))
    (missed,), (invented,) = svg.findall(".//line[@class='missed']"), svg.findall(".//rect[@class='invented']")
    assert share(missed, "y1") > share(invented, "y") + share(invented, "height")
    assert [one.findtext("title") for one in (missed, invented)] == [
        "s2, missed: 4.40 s, 8.50 to 12.90 s",
        "s2, invented: 1.00 s, 14.00 to 15.00 s",
    ]
    assert share(missed, "x2") - share(missed, "x1") == pytest.approx(100 * 4.4 / 36.9, abs=0.02)


def test_turns_that_agree_have_no_lane_of_differences() -> None:
    assert "differs" not in timeline(bands(of(samples.talk())), 0, 40)


def test_the_shortest_difference_in_an_hour_is_wide_enough_to_be_found() -> None:
    said = a_long_meeting()
    late = said.copy()
    late[len(said) // 2, 1] += 0.08
    late[-1, 1] += 0.01
    svg = drawn(of(late, said))
    marks = svg.findall(".//rect[@class='invented']")
    assert len(marks) == 2
    for mark in marks:
        assert share(mark, "width") == pytest.approx(100 * NARROWEST / COLUMNS)
        assert 0 <= share(mark, "x") <= 100 - share(mark, "width") + 0.01


def test_every_difference_of_an_hour_is_told_once_though_neighbours_are_drawn_as_one() -> None:
    said = a_long_meeting()
    other = said[np.random.default_rng(2).random(len(said)) > 0.2]
    found = of(other, said)
    told = [mark.findtext("title") or "" for mark in drawn(found).findall(".//line[@class='missed']")]
    seconds = sum(float(re.findall(r"missed: ([\d.]+) s", words)[0]) for words in told)
    shown = bands(found)
    assert seconds == pytest.approx(sum(stretches.seconds(one.missed) for one in shown), abs=0.005 * len(told))
    assert len(told) < sum(len(one.missed) for one in shown)


def test_a_meeting_of_any_length_and_flicker_takes_bounded_room() -> None:
    flicker = np.array([[at * 0.16, at * 0.16 + 0.08, speaker] for at in range(20_000) for speaker in range(4)])
    for found in (of(flicker, a_long_meeting()), of(a_long_meeting(), flicker), of(a_long_meeting(600), flicker)):
        shown = bands(found)
        assert len(timeline(shown, 0, lasts(shown))) < 700_000


def test_the_axis_has_few_round_times() -> None:
    assert ticks(0, 38) == [0, 5, 10, 15, 20, 25, 30, 35]
    assert ticks(1990, 2110) == [2000, 2020, 2040, 2060, 2080, 2100]
    for length in (0.3, 1, 7, 61, 3599, 86_400):
        assert 2 <= len(ticks(0, length)) <= TICKS + 1


def test_the_failed_check_comes_first_and_open_and_what_agrees_is_named_in_a_line(tmp_path: Path) -> None:
    page = speaking(*samples.diarized(tmp_path))
    assert re.findall(r"case (\w+)", page) == ["wrong", "near", "alike"]
    assert [" open" in card for card in re.findall(r"<details[^>]*>", page)] == [True, False]
    assert "speaking is upstream&#39;s, turn by turn" in page


def test_every_failed_check_is_open(tmp_path: Path) -> None:
    record, evidence = samples.diarized(tmp_path)
    again = replace(record.verdicts[2], evidence="near", check=samples.check("chain", "fp16", "near"))
    page = speaking(replace(record, verdicts=(*record.verdicts[:1], again, record.verdicts[2])), evidence)
    assert [" open" in card for card in re.findall(r"<details[^>]*>", page)] == [True, True]


def test_the_error_rates_stand_beside_it_as_the_check_has_them(tmp_path: Path) -> None:
    failed, near = speaking(*samples.diarized(tmp_path)).split("<details")[1:]
    assert re.findall(r'class="bad value"[^>]*>([^<]*)<', failed) == ["31.00 %", "24.00 %", "7.00 %", "+30.00 points"]
    assert "0.00 % ≤ 2 %" in re.sub("<[^>]*>", "", failed)
    assert "−0.10 points ≤ 2 points" in re.sub("<[^>]*>", "", near)
    assert "confusion" not in near


def test_outputs_that_are_alike_share_a_card(tmp_path: Path) -> None:
    record, evidence = samples.diarized(tmp_path)
    said, folder = samples.talk(), tmp_path / "wrong"
    for output in ("host.speaking", "free.speaking"):
        samples.meeting(folder, output, reference=said, candidate=said[1:], truth=said)
    page = speaking(record, evidence)
    assert "sortformer · chain · free.speaking, host.speaking</h3>" in page
    assert page.count("<details") == 3


def test_a_long_meeting_is_seen_whole_and_where_it_differs_most(tmp_path: Path) -> None:
    record, _ = samples.diarized(tmp_path)
    said = a_long_meeting()
    wrong = merged(np.concatenate([said, [[2000.0, 2060.0, 0], [2000.0, 2060.0, 2]]]))
    samples.meeting(tmp_path / "long", reference=said, candidate=wrong)
    page = speaking(record, lambda key: tmp_path / "long")
    assert page.count("<svg") == 3 * 4
    begin, end = map(int, re.findall(r"(\d+) to (\d+) s, where the two differ most", page)[0])
    assert end - begin == EXCERPT
    assert begin < 2000 < 2060 < end


def test_damaged_turns_are_told_and_spoil_neither_the_page_nor_their_neighbours(tmp_path: Path) -> None:
    record, evidence = samples.diarized(tmp_path)
    hostile = "SPEAKER candidate 1 0 1 <NA> <NA> <script>alert(1)</script> <NA> <NA>"
    samples.meeting(tmp_path / "wrong", "host.speaking", reference=samples.talk(), truth=samples.talk())
    (tmp_path / "wrong/host.speaking.candidate.rttm").write_text(hostile)
    page = render(record, evidence)
    assert "wrong/host.speaking.candidate.rttm: line 1: nobody is called" in page
    assert "<script>alert" not in page
    assert page.count('class="card speaking"') == 2


def test_evidence_of_a_meeting_that_is_gone_is_told_for_a_failed_check(tmp_path: Path) -> None:
    record, _ = samples.diarized(tmp_path)
    page = speaking(record, lambda key: None)
    assert page.count("its evidence is no longer kept") == 1
    assert "case wrong" in page


def test_a_run_without_meetings_has_no_such_section(tmp_path: Path) -> None:
    assert speaking(samples.record(), samples.evidence(tmp_path)) == ""


def test_timelines_grow_no_further_than_their_budget_and_what_is_left_out_is_named(tmp_path: Path) -> None:
    record, _ = samples.diarized(tmp_path)
    said = a_long_meeting()
    samples.meeting(tmp_path / "long", reference=said, candidate=said[::2], truth=said)
    one = record.verdicts[2]
    found = tuple(replace(one, check=samples.check("chain", "fp32", f"long{at}"), evidence=str(at)) for at in range(12))
    page = speaking(replace(record, verdicts=found), lambda key: tmp_path / "long")
    assert len(page) < BUDGET + 700_000
    left = page.count("is left out, for the page would grow too large")
    assert 0 < left == 12 - page.count("<details")


def test_a_page_of_meetings_asks_nothing_of_the_network(tmp_path: Path) -> None:
    page = render(*samples.diarized(tmp_path))
    assert not re.search(r"https?:|url\(|@import|<link|<iframe", page)
