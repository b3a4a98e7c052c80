"""Speech made with espeak-ng, and what goes wrong with it, for the tests of the speech metrics."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import pytest
from scipy.signal import resample_poly

from parity.speech.ears import Recognizer
from parity.speech.metrics import Passage, Ruling, words
from parity.speech.sound import Samples, Sound, sound

ESPEAK = shutil.which("espeak-ng")
needs_espeak = pytest.mark.skipif(ESPEAK is None, reason="espeak-ng is not installed: no speech to test with")

Change = Callable[[Sound], Sound]
TEXTS = (
    "The harbour was quiet when the first boat came in before sunrise.",
    "We went to the house by the river and waited there for the people from the city.",
    "The children could see the light in the window and they knew that their father was home.",
)


@cache
def spoken(text: str, voice: str = "en-us", speed: int = 140) -> Sound:
    """What espeak-ng says; the same bits each time."""
    assert ESPEAK
    command = [ESPEAK, "-v", voice, "-s", str(speed), "--stdout", text]
    wave = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
    # Written to a pipe, the header doesn't know how long the sound is.
    data = wave[wave.index(b"data") + 8 :]
    samples = np.frombuffer(data[: len(data) // 2 * 2], "<i2").astype(np.float32) / 32768
    return sound(samples, int.from_bytes(wave[24:28], "little"), f"{voice} at {speed}")


def changed(heard: Sound, samples: Samples, how: str) -> Sound:
    return sound(samples.astype(np.float32), heard.rate, f"{heard.name}, {how}")


def rounded(heard: Sound, seed: int = 1) -> Sound:
    """As another rendering differs: by the last bits."""
    noise = np.random.default_rng(seed).standard_normal(len(heard.samples))
    return changed(heard, heard.samples * (1 + 1e-6 * noise), "rounded otherwise")


def quieter(heard: Sound) -> Sound:
    return changed(heard, 0.5 * heard.samples, "quieter")


def noisy(heard: Sound, decibels: float = 0.0) -> Sound:
    """With white noise so many decibels under the speech."""
    loudness = np.sqrt(np.mean(np.square(heard.samples)))
    noise = np.random.default_rng(0).standard_normal(len(heard.samples))
    return changed(heard, heard.samples + noise * loudness * 10 ** (-decibels / 20), "noisy")


def fast(heard: Sound) -> Sound:
    """Played half again as fast, as with a wrong sample rate."""
    return changed(heard, resample_poly(heard.samples, 2, 3), "too fast")


def halved(heard: Sound) -> Sound:
    """The second half is missing: silence in its place."""
    first = np.arange(len(heard.samples)) < len(heard.samples) // 2
    return changed(heard, np.where(first, heard.samples, 0), "half dropped")


class Remembering:
    """A recognizer that hears each recording once in a run of the tests."""

    def __init__(self, recognizer: Recognizer) -> None:
        self.recognizer, self.name, self.about = recognizer, recognizer.name, recognizer.about
        self.known: dict[bytes, str] = {}

    def transcribe(self, audio: Samples, rate: int) -> str:
        key = audio.tobytes()
        if key not in self.known:
            self.known[key] = self.recognizer.transcribe(audio, rate)
        return self.known[key]


def passage(change: Change, text: str = TEXTS[1]) -> Passage:
    """A text as it is spoken, as a changed copy, and with the rounding of another rendering as the floor."""
    clean = spoken(text)
    return Passage(text.split()[1], text, clean, (rounded(clean),), change(clean))


def words_of(change: Change, recognizer: Recognizer, texts: Sequence[str]) -> Ruling:
    return words("espeak", [passage(change, text) for text in texts], recognizer)
