"""On the speech of espeak-ng, ears with trained weights hear what a listener would: lost words, other voices, noise."""

from __future__ import annotations

import sys
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from parity.speech.ears import LOUDNESS, WHEELS, Dnsmos, Ge2e, Whisper
from parity.speech.metrics import hear, likeness, naturalness, word_errors
from parity.speech.sound import RATE, Sound, resampled
from tests.support.espeak import (
    TEXTS,
    Change,
    Remembering,
    changed,
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

pytestmark = [
    needs_espeak,
    pytest.mark.skipif(not all(wheel.installed for wheel in WHEELS), reason="no trained ears: run make extra-ears"),
]
other_rounding = partial(rounded, seed=3)


def in_16_bits(heard: Sound) -> Sound:
    return changed(heard, np.rint(heard.samples * 16384) / 16384, "in 16 bits")


def clipped(heard: Sound) -> Sound:
    return changed(heard, np.clip(heard.samples, -0.1, 0.1), "clipped")


def another_voice(heard: Sound) -> Sound:
    return spoken(TEXTS[1], "en-us+f3")


@pytest.fixture(scope="module")
def recognizer() -> Remembering:
    return Remembering(Whisper())


@pytest.fixture(scope="module")
def encoder() -> Ge2e:
    return Ge2e()


@pytest.fixture(scope="module")
def listener() -> Dnsmos:
    return Dnsmos()


def test_nine_words_of_ten_are_heard(recognizer: Remembering) -> None:
    found = word_errors(TEXTS, [hear(recognizer, spoken(text)) for text in TEXTS])
    assert found.wer < 0.1
    assert "nine words of ten" in recognizer.about


def test_what_was_heard_before_changes_nothing(recognizer: Remembering) -> None:
    used, clean = Whisper(), spoken(TEXTS[1])
    hear(used, halved(clean))
    assert hear(used, clean) == hear(recognizer, clean)


def test_what_lasts_longer_than_a_window_is_heard_to_its_end() -> None:
    clean = spoken(" ".join(TEXTS * 3))
    assert len(clean.samples) > 30 * clean.rate
    assert word_errors([" ".join(TEXTS * 3)], [hear(Whisper(), clean)]).wer < 0.2


@pytest.mark.parametrize("change", [other_rounding, quieter])
def test_clean_speech_keeps_its_words(change: Change, recognizer: Remembering) -> None:
    ruling = words_of(change, recognizer, TEXTS)
    assert ruling.passed, ruling.line()
    assert ruling.worse == 0


@pytest.mark.parametrize("change", [noisy, partial(noisy, decibels=20), fast, halved])
def test_broken_speech_loses_words(change: Change, recognizer: Remembering) -> None:
    ruling = words_of(change, recognizer, TEXTS)
    assert not ruling.blind
    assert not ruling.passed, ruling.line()


@pytest.mark.parametrize("change", [other_rounding, quieter, in_16_bits])
def test_clean_speech_keeps_its_voice_and_its_mark(change: Change, encoder: Ge2e, listener: Dnsmos) -> None:
    for ruling in (likeness("", passage(change), encoder), naturalness("", passage(change), listener)):
        assert ruling.passed, ruling.line()
        assert ruling.worse < ruling.margin / 10


@pytest.mark.parametrize("change", [noisy, partial(noisy, decibels=20), fast, halved, another_voice, clipped])
def test_another_voice_is_heard(change: Change, encoder: Ge2e) -> None:
    ruling = likeness("espeak", passage(change), encoder)
    assert not ruling.blind
    assert not ruling.passed, ruling.line()
    assert ruling.worse > 2 * ruling.margin


@pytest.mark.parametrize("change", [noisy, partial(noisy, decibels=30), fast, halved, clipped])
def test_unnatural_speech_gets_a_worse_mark(change: Change, listener: Dnsmos) -> None:
    ruling = naturalness("espeak", passage(change), listener)
    assert not ruling.blind
    assert not ruling.passed, ruling.line()


def test_the_mark_is_the_packages(listener: Dnsmos) -> None:
    theirs = pytest.importorskip("speechmos.dnsmos")
    for text in (TEXTS[0], " ".join(TEXTS)):
        heard = resampled(spoken(text).samples, spoken(text).rate)
        # The package leaves out windows whose ends it rounds down by a sample.
        assert listener.rate(heard, RATE) == pytest.approx(theirs.run(heard, RATE)["p808_mos"], abs=5e-3)


def test_the_encoder_is_its_authors(encoder: Ge2e, monkeypatch: pytest.MonkeyPatch) -> None:
    detector: Any = ModuleType("webrtcvad")
    monkeypatch.setitem(sys.modules, "webrtcvad", detector)
    theirs = pytest.importorskip("resemblyzer.voice_encoder").VoiceEncoder("cpu", verbose=False)
    for text in TEXTS:
        clean = spoken(text)
        heard = resampled(clean.samples, clean.rate)
        levelled = heard * np.float32(LOUDNESS / np.sqrt(np.mean(np.square(heard))))
        found = encoder.embed(clean.samples, clean.rate)
        np.testing.assert_allclose(found / np.linalg.norm(found), theirs.embed_utterance(levelled), atol=1e-5)
