"""What can't be listened to is refused, by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from parity.speech.sound import RATE, SpeechError, resampled, sound

TONE = np.sin(np.arange(8_000, dtype=np.float32) / 10)


def with_nan() -> np.ndarray:
    broken = TONE.copy()
    broken[7] = np.nan
    return broken


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (np.zeros(0, np.float32), "lasts 0.000 s"),
        (TONE[:100], "lasts 0.013 s"),
        (np.zeros(8_000, np.float32), "silent"),
        (np.full(8_000, 0.5, np.float32), "silent"),
        (np.full(8_000, 1e-5, np.float32), "silent"),
        (with_nan(), "1 samples of 8000 that are NaN"),
        (np.full(8_000, np.inf, np.float32), "NaN or infinite"),
        (TONE.reshape(2, -1), "one channel"),
        ((TONE * 100).astype(np.int16), "int16"),
    ],
)
def test_a_recording_that_says_nothing_is_refused(samples: np.ndarray, said: str) -> None:
    with pytest.raises(SpeechError, match=rf"the candidate.*{said}"):
        sound(samples, 8_000, "the candidate")


def test_a_recording_needs_a_rate() -> None:
    with pytest.raises(SpeechError, match="rate of 0"):
        sound(TONE, 0)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 48_000])
def test_resampling_keeps_a_tone_where_it_was(rate: int) -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(rate) / rate).astype(np.float32)
    found = resampled(tone, rate)
    assert found.dtype == np.float32
    assert len(found) == RATE
    assert np.argmax(np.abs(np.fft.rfft(found))) == 440


def test_any_float_will_do() -> None:
    kinds: list[Callable[[np.ndarray], np.ndarray]] = [np.float16, np.float64]
    for kind in kinds:
        assert sound(kind(TONE), 8_000).samples.dtype == np.float32
