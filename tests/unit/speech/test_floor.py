"""A candidate fails only where it is worse than the reference by more than the floor and the margin."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from parity.speech.margins import Better, Metric
from parity.speech.metrics import Passage, Ruling, judge, likeness, words
from parity.speech.sound import Samples, SpeechError, sound

TONE = np.sin(np.arange(8_000, dtype=np.float32) / 10)


def ruled(reference: float, others: Sequence[float], candidate: float, better: Better = "lower") -> Ruling:
    nothing = 1.0 if better == "lower" else 0.0
    return judge("it", Metric("score", better, nothing, margin=0.05), reference, others, candidate)


@pytest.mark.parametrize(
    ("others", "candidate", "passes"),
    [
        ([0.30], 0.34, True),
        ([0.30], 0.36, False),
        ([0.40], 0.44, True),
        ([0.40], 0.46, False),
        ([0.31, 0.40, 0.28], 0.44, True),
        ([0.20], 0.34, True),
        ([0.20], 0.36, False),
        ([0.30], 0.0, True),
        ([0.30], math.nan, False),
    ],
)
def test_the_floor_is_the_worst_rendering_and_never_below_the_reference(
    others: list[float], candidate: float, passes: bool
) -> None:
    ruling = ruled(0.30, others, candidate)
    assert ruling.passed is passes
    assert ("beyond" in ruling.line()) is not passes


def test_where_higher_is_better_worse_is_lower() -> None:
    assert ruled(1.0, [0.98], 0.94, "higher").passed
    assert not ruled(1.0, [0.98], 0.92, "higher").passed
    assert ruled(1.0, [0.98], 0.92, "higher").floor == pytest.approx(0.02)


def test_without_a_second_rendering_there_is_no_floor() -> None:
    with pytest.raises(SpeechError, match=r"it: score has no floor.*read as a regression"):
        ruled(0.3, [], 0.3)


@pytest.mark.parametrize(("reference", "other"), [(0.96, 0.96), (0.5, 0.97), (1.2, 1.2)])
def test_a_metric_that_silence_would_pass_judges_nothing(reference: float, other: float) -> None:
    ruling = ruled(reference, [other], reference)
    assert ruling.blind
    assert not ruling.passed
    assert "would pass as well" in ruling.line()


class Deaf:
    """Hears what it is told to, by the length of what it is given."""

    name, about = "deaf", "hears nothing"

    def __init__(self, by_length: dict[int, str]) -> None:
        self.by_length = by_length

    def transcribe(self, audio: Samples, rate: int) -> str:
        return self.by_length[len(audio)]


def passage(name: str, text: str, lengths: Sequence[int]) -> Passage:
    reference, candidate, *others = (sound(TONE[:length], 8_000, f"{name} {length}") for length in lengths)
    return Passage(name, text, reference, tuple(others), candidate)


def test_words_are_counted_over_all_passages_rendering_by_rendering() -> None:
    recognizer = Deaf({4000: "one two", 4001: "one", 4002: "two two", 5000: "a b c", 5001: "a b c", 5002: "a b"})
    passages = [passage("first", "One, two.", (4000, 4001, 4002)), passage("second", "A b c.", (5000, 5001, 5002))]
    ruling = words("all", passages, recognizer)
    assert (ruling.reference, ruling.candidate) == (0.0, pytest.approx(0.2))
    assert ruling.floor == pytest.approx(0.4)
    assert ruling.passed


def test_every_passage_is_rendered_as_often_as_the_others() -> None:
    passages = [passage("first", "One.", (4000, 4001, 4002)), passage("second", "Two.", (4000, 4001, 4002, 4003))]
    with pytest.raises(SpeechError, match=r"\[1, 2\] renderings"):
        words("all", passages, Deaf({}))
    with pytest.raises(SpeechError, match="no passage"):
        words("all", [], Deaf({}))


class Encoder:
    name, about = "made up", "worth a test"

    def __init__(self, vector: Sequence[float]) -> None:
        self.vector = vector

    def embed(self, audio: Samples, rate: int) -> Sequence[float]:
        return self.vector


@pytest.mark.parametrize("vector", [[], [math.nan, 1.0], [0.0, 0.0]])
def test_an_embedding_of_nothing_is_refused(vector: list[float]) -> None:
    with pytest.raises(SpeechError, match="made up gave no usable embedding for first 4000"):
        likeness("it", passage("first", "One.", (4000, 4001, 4002)), Encoder(vector))


def test_an_encoder_that_finds_everything_alike_is_no_error_of_the_candidate() -> None:
    ruling = likeness("it", passage("first", "One.", (4000, 4001, 4002)), Encoder([3.0, 4.0]))
    assert ruling.passed
    assert ruling.candidate == pytest.approx(1.0)
