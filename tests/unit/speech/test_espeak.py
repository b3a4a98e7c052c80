"""On the speech of espeak-ng, the offline plug-ins tell a degraded copy from a clean one, and noise from a fault."""

from __future__ import annotations

import numpy as np
import pytest

from parity.speech.basic_ears import Ecapa, Sphinx
from parity.speech.margins import METRICS
from parity.speech.metrics import Passage, Ruling, hear, likeness, word_errors, words
from parity.speech.sound import Sound
from tests.support.espeak import (
    TEXTS,
    Change,
    Remembering,
    fast,
    halved,
    needs_espeak,
    noisy,
    passage,
    quieter,
    rounded,
    spoken,
    words_of,
)

pytestmark = needs_espeak
HEARD = TEXTS[1:]
"""Of the first, pocketsphinx hears a quarter, and no more of a whole one than of a half."""


@pytest.fixture(scope="module")
def recognizer() -> Remembering:
    return Remembering(Sphinx())


@pytest.fixture(scope="module")
def encoder() -> Ecapa:
    return Ecapa()


def recording_of(change: Change, encoder: Ecapa) -> Ruling:
    return likeness("espeak", passage(change, TEXTS[0]), encoder, METRICS["recording"])


def another_voice(heard: Sound) -> Sound:
    return spoken(TEXTS[0], "en-us+f3")


def in_16_bits(heard: Sound) -> Sound:
    return Sound(np.rint(heard.samples * 16384).astype(np.float32) / 16384, heard.rate)


def test_half_of_the_words_or_more_are_heard(recognizer: Sphinx) -> None:
    found = word_errors(TEXTS, [hear(recognizer, spoken(text)) for text in TEXTS])
    assert found.wer < 0.55
    assert "half" in recognizer.about


@pytest.mark.parametrize("change", [lambda heard: rounded(heard, 3), quieter])
def test_clean_speech_keeps_its_words(change: Change, recognizer: Sphinx) -> None:
    ruling = words_of(change, recognizer, HEARD)
    assert ruling.passed, ruling.line()


@pytest.mark.parametrize("change", [noisy, fast, halved])
def test_broken_speech_loses_words(change: Change, recognizer: Sphinx) -> None:
    ruling = words_of(change, recognizer, HEARD)
    assert not ruling.blind
    assert not ruling.passed, ruling.line()


@pytest.mark.parametrize("change", [lambda heard: rounded(heard, 3), quieter, in_16_bits])
def test_clean_speech_is_the_same_recording(change: Change, encoder: Ecapa) -> None:
    ruling = recording_of(change, encoder)
    assert ruling.passed, ruling.line()
    assert ruling.worse < ruling.margin / 100


@pytest.mark.parametrize("change", [noisy, lambda heard: noisy(heard, 20), fast, halved, another_voice])
def test_broken_or_swapped_speech_is_another_recording(change: Change, encoder: Ecapa) -> None:
    ruling = recording_of(change, encoder)
    assert not ruling.blind
    assert not ruling.passed, ruling.line()
    assert ruling.worse > 2 * ruling.margin


def test_what_was_heard_before_changes_nothing(recognizer: Sphinx) -> None:
    clean = spoken(TEXTS[1])
    used = Sphinx()
    hear(used, halved(clean))
    assert hear(used, clean) == hear(recognizer, clean) != ""


def test_noise_in_the_metric_widens_the_floor_and_is_no_regression(recognizer: Sphinx) -> None:
    """Where renderings themselves trip the recognizer, a candidate that trips it as far is none the worse."""
    clean = [passage(halved, text) for text in HEARD]
    shaky = [Passage(one.name, one.text, one.reference, (one.candidate,), rounded(one.candidate)) for one in clean]
    ruling = words("espeak", shaky, recognizer)
    assert ruling.floor > ruling.margin
    assert ruling.worse <= ruling.floor + ruling.margin
