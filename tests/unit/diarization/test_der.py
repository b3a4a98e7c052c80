"""Turns, what they have wrong, and the lessons of the field: what an agreement of the loudest speaker never sees."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from parity.compare import evidence
from parity.compare.metrics import METRICS, find, of_kind
from parity.compare.modes import Comparison
from parity.declarations import Kind, Tensor
from parity.diarization.der import Errors, errors
from parity.diarization.turns import Turns, merged, turns
from tests.support import der_by_ticks as by_ticks
from tests.support.masks import Mask, mask
from tests.support.signals import FRAME_RATE, Array, activity, measure

TICKS = 100.0
TALK = np.array([[0, 4, 0], [4, 6, 1], [6, 10, 0]], np.float64)
"""Ten seconds without a pause."""

masks = arrays(np.bool_, st.tuples(st.integers(1, 60), st.integers(1, 4)))


def wrong(hypothesis: list[list[float]], collar: float = 0.0, seconds: float = 12.0) -> tuple[float, ...]:
    found = errors(TALK, np.array(hypothesis, np.float64).reshape(-1, 3), collar, seconds)
    return found.speech, *(round(part, 9) for part in (found.missed, found.false_alarm, found.confusion))


def conversation(seed: int, seconds: int, edges: int) -> Mask:
    """Four speakers by ticks, each with so many beginnings and ends."""
    random = np.random.default_rng(seed)
    flips = np.zeros((seconds * int(TICKS), 4), np.int64)
    for speaker in range(4):
        flips[random.choice(len(flips), edges, replace=False), speaker] = 1
    return np.asarray(flips.cumsum(axis=0) % 2 == 1)


def agree(found: Errors, expected: by_ticks.Errors) -> bool:
    parts = ("speech", "missed", "false_alarm", "confusion")
    return all(getattr(found, part) == pytest.approx(getattr(expected, part) / TICKS, abs=1e-6) for part in parts)


@given(masks, st.sampled_from([12.5, 16.0, 100.0, 16_000 / 1280]))
def test_the_turns_of_a_mask_make_the_mask_again(active: Mask, rate: float) -> None:
    found = turns(active, rate)
    assert (mask(found, len(active), rate, active.shape[1]) == active).all()
    assert (merged(found) == found).all()
    assert (np.diff(found[:, 0]) >= 0).all()


def test_a_frame_is_whoever_speaks_in_its_middle() -> None:
    spoken = np.array([[0.04, 0.11, 0], [0.13, 0.2, 1], [0.31, 9.0, 2]])
    assert mask(spoken, 5, 10.0, 3).T.astype(int).tolist() == [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 1, 1]]


def test_turns_that_overlap_or_touch_are_one() -> None:
    known = np.array([[3, 4, 0], [0, 2, 0], [1, 3, 0], [1, 2, 1], [6, 7, 0], [6.5, 6.6, 0]])
    assert merged(known).tolist() == [[0, 4, 0], [1, 2, 1], [6, 7, 0]]
    assert errors(known, merged(known), 0.0, 8.0) == Errors(6.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[0, 1]], r"of the shape \(1, 2\): a row is beginning, end and speaker"),
        ([0, 1, 2], r"of the shape \(3,\)"),
        ([[0, 1, 0], [2, 2, 0]], r"turn 1, \[2.0, 2.0, 0.0\], ends no later than it begins"),
        ([[-1, 1, 0]], "begins before the recording"),
        ([[0, 1, 0.5]], "of a speaker that is not a number"),
        ([[0, 1, -1]], "of a speaker that is not a number"),
        ([[0, math.nan, 0]], "not finite"),
    ],
)
def test_what_are_no_turns_is_refused(rows: list[list[float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        errors(TALK, np.array(rows), 0.0, 10.0)
    with pytest.raises(ValueError, match=message):
        mask(np.array(rows), 10, 1.0, 3)


def test_a_mask_has_frames_and_speakers_and_a_place_for_each() -> None:
    with pytest.raises(ValueError, match=r"shape \(4,\) where \(frames, speakers\)"):
        turns(np.ones(4, bool), 1.0)
    with pytest.raises(ValueError, match="speaker 1 has no place in a mask of 1 speakers"):
        mask(TALK, 10, 1.0, 1)


@pytest.mark.parametrize(
    ("hypothesis", "expected"),
    [
        ([[0, 4, 0], [4, 6, 1], [6, 10, 0]], (10, 0, 0, 0)),
        ([[0, 4, 0], [4, 6, 1], [6, 9, 0]], (10, 1, 0, 0)),
        ([[0, 4, 0], [4, 6, 1], [6, 11, 0]], (10, 0, 1, 0)),
        ([[0, 4, 0], [4, 6, 1], [6, 10, 0], [1, 2, 1]], (10, 0, 1, 0)),
        ([[0, 5, 0], [5, 6, 1], [6, 10, 0]], (10, 0, 0, 1)),
        ([[0, 4, 1], [4, 6, 0], [6, 10, 1]], (10, 0, 0, 0)),
        ([[0, 10, 0]], (10, 0, 0, 2)),
        ([[0, 4, 0], [4, 6, 1], [6, 10, 2]], (10, 0, 0, 4)),
        ([], (10, 10, 0, 0)),
    ],
    ids=["same", "missed", "late", "beside", "confused", "renumbered", "one for all", "three for two", "silence"],
)
def test_errors_reckoned_by_hand(hypothesis: list[list[float]], expected: tuple[float, ...]) -> None:
    assert wrong(hypothesis) == expected


def test_a_collar_is_as_wide_on_either_side() -> None:
    early = [[0, 3.8, 0], [3.8, 6, 1], [6, 10, 0]]
    earlier = [[0, 3.7, 0], [3.7, 6, 1], [6, 10, 0]]
    # Edges at 0, 4, 6 and 10, of which the first has only one side.
    assert wrong(early, 0.25) == (8.5, 0, 0, 0)
    assert wrong(earlier, 0.25) == (8.5, 0, 0, 0.05)
    assert wrong(earlier) == (10, 0, 0, 0.3)


def test_where_nothing_was_said_whatever_is_heard_is_infinitely_wrong() -> None:
    silence = np.zeros((0, 3))
    assert errors(silence, silence, 0.0, 10.0).rate == 0
    assert errors(silence, TALK, 0.0, 10.0).rate == math.inf
    assert errors(silence, TALK, 0.0, 10.0).false_alarm == 10


def test_errors_of_several_recordings_add_up() -> None:
    whole = errors(TALK, TALK[:2], 0.0, 10.0) + errors(TALK, TALK, 0.0, 10.0)
    assert (whole.speech, whole.missed, whole.rate) == (20, 4, 0.2)


@pytest.mark.parametrize(("collar", "seconds"), [(-0.1, 10.0), (math.nan, 10.0), (0.0, math.inf), (0.0, -1.0)])
def test_what_lasts_no_time_is_refused(collar: float, seconds: float) -> None:
    with pytest.raises(ValueError, match="it lasts a finite time"):
        errors(TALK, TALK, collar, seconds)


@settings(max_examples=60)
@given(st.data(), st.integers(1, 400), st.integers(1, 4), st.sampled_from([0.0, 0.05, 0.25]))
def test_errors_are_those_of_a_count_of_ticks(data: st.DataObject, count: int, speakers: int, collar: float) -> None:
    seeds = st.integers(0, 2**32 - 1)
    said, heard = (
        np.repeat(np.random.default_rng(data.draw(seeds)).random((-(-count // 20), speakers)) < 0.4, 20, axis=0)[:count]
        for _ in range(2)
    )
    found = errors(turns(said, TICKS), turns(heard, TICKS), collar, count / TICKS)
    assert agree(found, by_ticks.errors(said, heard, collar))


@pytest.mark.parametrize("collar", [0.0, 0.25])
def test_an_hour_of_a_thousand_turns_has_one_mapping_and_all_of_its_errors(collar: float) -> None:
    said = conversation(0, 3600, 500)
    # In the second half speakers have changed places, which a mapping of each minute would forgive.
    heard = np.roll(said, 12, axis=0)
    heard[200_000:] = heard[200_000:, ::-1]
    found = errors(turns(said, TICKS), turns(heard, TICKS), collar, 3600.0)
    assert agree(found, by_ticks.errors(said, heard, collar))
    assert found.confusion / found.speech > 0.2


def frames(*spoken: tuple[int, int, int, float], count: int = 400) -> Array:
    """Probabilities of two speakers, from one frame to another."""
    said = np.full((count, 2), 0.02)
    for speaker, begin, end, probability in spoken:
        said[begin:end, speaker] = probability
    return said


def names(kind: Kind) -> list[str]:
    return [metric.name for metric in of_kind(kind)]


def of(kind: Kind, reference: np.ndarray, candidate: np.ndarray, truth: Turns | None = None) -> dict[str, float]:
    known = turns(reference > 0.5, FRAME_RATE) if truth is None else truth
    return {name: measure(name, reference, candidate, FRAME_RATE, known) for name in names(kind)}


def decided(probabilities: Array, threshold: float = 0.5) -> Array:
    return np.asarray(probabilities > threshold, np.float64)


def test_a_scale_leaves_the_loudest_the_loudest_and_loses_speech() -> None:
    reference = frames((0, 10, 150, 0.9), (1, 150, 250, 0.6), (0, 250, 390, 0.9))
    candidate = 0.8 * reference
    assert measure("argmax_agreement", reference, candidate) == 1
    found = of("speakers", reference, candidate)
    assert found["threshold_agreement"] == 0.75
    assert found["speaker_overlap"] == 0
    found = of("diarization", decided(reference), decided(candidate))
    assert found["der"] == found["missed"] == pytest.approx(100 / 380)
    assert found["der_delta"] == pytest.approx(100 / 380)
    assert (found["speaker_count"], found["false_alarm"], found["confusion"]) == (1, 0, 0)


def test_a_model_that_hears_the_dominant_speaker_alone_is_nine_tenths_right_and_wrong() -> None:
    reference = frames((0, 0, 400, 0.9), (1, 340, 380, 0.95), (1, 100, 200, 0.8))
    candidate = reference.copy()
    candidate[:, 1] = 0.02
    assert measure("argmax_agreement", reference, candidate) == 0.9
    assert measure("speaker_overlap", reference, candidate) == 0
    found = of("diarization", decided(reference), decided(candidate))
    assert found["der"] == found["der_delta"] == pytest.approx(140 / 540)
    assert found["overlap_frames"] == pytest.approx(140 / 400)
    assert found["speaker_count"] == 1


def test_a_lower_threshold_is_seen() -> None:
    probabilities = activity()
    found = of("diarization", decided(probabilities), decided(probabilities, 0.45))
    for name in ("threshold_agreement", "speaker_overlap", "der", "der_collar", "false_alarm", "der_delta"):
        assert find(name).distance(found[name]) > 0.01
    assert (found["missed"], found["confusion"]) == (0, 0)


def test_speakers_that_change_places_are_forgiven_by_the_error_rate_alone() -> None:
    reference = decided(frames((0, 0, 100, 0.9), (1, 100, 200, 0.9)))
    found = of("diarization", reference, reference[:, ::-1])
    assert {found[name] for name in ("der", "missed", "false_alarm", "confusion", "der_delta")} == {0}
    assert (found["threshold_agreement"], found["speaker_overlap"]) == (0.5, 0)
    assert measure("argmax_agreement", reference, reference[:, ::-1]) == 0


def test_a_speaker_who_hardly_speaks_is_lost_to_the_overlap_and_hardly_to_the_agreement() -> None:
    reference = frames((0, 0, 400, 0.9), (1, 200, 204, 0.9))
    candidate = frames((0, 0, 400, 0.9))
    assert measure("threshold_agreement", reference, candidate) == 0.99
    assert measure("speaker_overlap", reference, candidate) == 0


def test_against_the_truth_a_candidate_may_be_better_than_its_reference() -> None:
    truth = np.array([[0, 16, 0], [16, 32, 1]], np.float64)
    reference, right = decided(frames((0, 0, 180, 0.9), (1, 200, 400, 0.9))), decided(frames((0, 0, 200, 0.9)))
    right[200:, 1] = 1
    found = of("diarization", reference, right, truth)
    assert found["der_delta"] == pytest.approx(-1.6 / 32)
    assert found["der"] == pytest.approx(20 / 380)
    assert of("diarization", right, reference, truth)["der_delta_collar"] == pytest.approx(1.35 / 31)


@pytest.mark.parametrize("name", [name for name in METRICS if name.startswith("der")])
def test_speech_where_there_is_none_is_no_number_and_fails(name: str) -> None:
    silence, noise = np.zeros((400, 2)), decided(frames((0, 10, 20, 0.9)))
    nobody = np.zeros((0, 3))
    assert measure(name, silence, silence, FRAME_RATE, nobody) == 0
    assert math.isnan(measure(name, silence, noise, FRAME_RATE, nobody))


@pytest.mark.parametrize("name", ["der_collar", "der_delta_collar"])
def test_where_collars_leave_nothing_to_judge_nothing_has_succeeded(name: str) -> None:
    brief = decided(frames((0, 10, 16, 0.9)))
    assert math.isnan(measure(name, brief, brief, FRAME_RATE, turns(brief, FRAME_RATE)))
    assert measure(name.removesuffix("_collar"), brief, brief, FRAME_RATE, turns(brief, FRAME_RATE)) == 0


def test_what_the_truth_says_past_the_end_of_a_mask_is_missed() -> None:
    truth = np.array([[0, 40, 0]], np.float64)
    heard, later = decided(frames((0, 0, 400, 0.9))), decided(frames((0, 200, 400, 0.9)))
    assert measure("der_delta", heard, later, FRAME_RATE, truth) == pytest.approx(16 / 40)


@pytest.mark.parametrize("name", [*names("diarization"), "argmax_agreement"])
def test_calls_one_after_another_are_one_recording(name: str) -> None:
    reference, candidate = activity(), np.roll(activity(), 3, axis=0)
    known = turns(reference > 0.5, FRAME_RATE)
    whole = measure(name, reference, candidate, FRAME_RATE, known)
    calls = (values.reshape(20, 1, 15, 4) for values in (reference, candidate))
    assert measure(name, *calls, FRAME_RATE, known) == whole


def test_frames_of_padding_have_no_loudest_speaker() -> None:
    reference = np.concatenate([activity(), np.zeros((300, 4))])
    candidate = np.concatenate([0.9 * activity(), np.random.default_rng(0).random((300, 4))])
    assert measure("argmax_agreement", reference, candidate) == 1
    padding = np.zeros((9, 4))
    assert measure("argmax_agreement", padding, padding) == 1
    assert measure("argmax_agreement", padding, activity()[:9]) == 0


@pytest.mark.parametrize(
    ("reference", "candidate", "expected"),
    [
        ([[0, 1, 2, -1]], [[0, 1, 2, -1]], 1.0),
        ([[0, 1, 2, -1]], [[-7, 2, 1, 0]], 1.0),
        ([[0, 1, 2, -1]], [[0, 1, 3, -1]], 0.5),
        ([[0, 1, 2, -1]], [[0, 1, 2, 3]], 0.75),
        ([[5, 5, 6, -1]], [[5, 6, -1, -1]], 2 / 3),
        ([[0, 1, 2, 3], [0, 1, 2, 3]], [[0, 1, 2, 3], [4, 5, 6, 7]], 0.0),
        ([[-1, -1]], [[-1, -9]], 1.0),
        ([[-1, -1]], [[-1, 0]], 0.0),
    ],
)
def test_frames_kept_are_shared_at_the_worst_call(
    reference: list[list[int]], candidate: list[list[int]], expected: float
) -> None:
    assert measure("frames_kept", np.array(reference, np.int32), np.array(candidate, np.int32)) == expected


def test_no_other_number_of_speakers_can_be_let_pass() -> None:
    from parity.judge.gates import bound_from

    assert bound_from(find("speaker_count"), [0.0, 0.0]) == 0
    assert bound_from(find("speaker_count"), [0.0, 1.0]) is None


def test_evidence_takes_the_rate_of_the_tensor_and_the_turns_of_the_case() -> None:
    truth = decided(activity()).astype(np.float32)
    heard = np.roll(truth, 5, axis=0)
    declared = {"speaking": Tensor("float32", (300, 4), "diarization", rate=FRAME_RATE)}
    known = turns(truth, FRAME_RATE)

    def values(turns: Turns | None) -> dict[str, dict[str, float]]:
        dtypes = {"speaking": "float32"}
        compared = Comparison(declared, {"speaking": heard}, {"speaking": truth}, dtypes, "host.", turns)
        findings, found = evidence.measure([compared], 16_000)
        assert all(finding.passed for finding in findings)
        return found

    found = values(known)["host.speaking"]
    assert set(found) == set(names("diarization"))
    assert found == {name: measure(name, truth, heard, FRAME_RATE, known) for name in found}
    with pytest.raises(ValueError, match='der_delta needs to know who really speaks: the case needs an input "turns"'):
        values(None)
