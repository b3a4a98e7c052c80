"""Cuts from one recording of espeak-ng's voices, with pauses and noise; see `make_recording`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from parity.declarations import Case
from references.silero_vad.sizes import CHUNK, CHUNKS, RATE

RECORDING = Path(__file__).parent / "recordings" / "speech.flac"


@dataclass(frozen=True)
class Cut:
    """Samples of the recording from `begin` on.

    It is heard `times` over, each time at half the level of the time before.
    """

    begin: int
    samples: int
    about: str
    times: int = 1
    short: bool = False


CUTS = {
    "phrase": Cut(4_800, 60 * CHUNK, "a sentence between pauses, 2 s", short=True),
    "silence": Cut(0, 16 * CHUNK - 1, "a room without speech, a sample less than two windows", short=True),
    "odd": Cut(4_800, 17 * CHUNK + 300, "the beginning of a sentence, and the last chunk half empty", short=True),
    "stammer": Cut(101_376, 15 * CHUNK, "half a second, heard three times: stretches, and one too short", 3, True),
    "window": Cut(21_000, CHUNKS * CHUNK, "one window, all of it speech"),
    "noisy": Cut(78_400, 24 * CHUNK, "speech in noise, and its end, 0.8 s"),
    "word": Cut(136_000, 2 * CHUNKS * CHUNK, "a word within two windows, 0.5 s"),
    "long": Cut(0, 640 * CHUNK + 77, "41 s of sentences, words, pauses and noise: 1281 steps", times=2),
}
"""No case has exact zeros over whole frames: see digital silence in docs/systems/silero_vad.md."""


def case(name: str) -> Case:
    cut = CUTS[name]
    audio = _recording()[cut.begin : cut.begin + cut.samples]
    if len(audio) != cut.samples:
        raise ValueError(f"{RECORDING.name} is too short for the case {name}: make it again")
    heard = np.concatenate([audio / np.float32(2**time) for time in range(cut.times)])
    return Case(name, {"audio": heard}, short=cut.short, about=cut.about)


@cache
def _recording() -> np.ndarray:
    import soundfile

    samples, rate = soundfile.read(RECORDING, dtype="float32")
    if rate != RATE:
        raise ValueError(f"{RECORDING.name} has {rate} samples a second, {RATE} are expected")
    return np.asarray(samples)
