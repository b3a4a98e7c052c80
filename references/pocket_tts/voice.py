"""A seeded voice prompt: forty syllables, most of them voiced. Exact arithmetic alone, so the same bits everywhere."""

from __future__ import annotations

import numpy as np

from references import seeding
from references.pocket_tts.sizes import FRAME, SAMPLE_RATE

FRAMES = 125
SAMPLES = FRAMES * FRAME
_SYLLABLE = SAMPLE_RATE // 4
_HARMONICS = 12


def speech(name: str) -> np.ndarray:
    """Float32 (1, 240000): ten seconds that end on the pause that upstream wants, so that it cuts and adds nothing."""
    spoken = SAMPLES - FRAME
    count = -(-spoken // _SYLLABLE)
    drawn = seeding.uniform(f"pocket_tts/{name}/syllables", count, 3 + _HARMONICS).astype(np.float64)
    pitch, loud, voiced = 140 + 45 * drawn[:, 0], 0.65 + 0.35 * drawn[:, 1], drawn[:, 2] > -0.6
    timbre = (0.2 + np.square(drawn[:, 3:])) / (1 + np.arange(_HARMONICS))

    at = np.arange(spoken)
    syllable = at // _SYLLABLE
    turns = np.cumsum(np.floor(pitch * (2.0**32 / SAMPLE_RATE)).astype(np.int64)[syllable])
    tone = np.zeros(spoken)
    for harmonic in range(_HARMONICS):
        # A parabola each way is a sine to within a twentieth, and the same on every machine.
        phase = ((harmonic + 1) * turns & 0xFFFFFFFF).astype(np.float64) * 2.0**-31 - 1
        tone += timbre[syllable, harmonic] * 4 * phase * (1 - np.abs(phase))
    breath = seeding.normal(f"pocket_tts/{name}/breath", spoken).astype(np.float64)
    within = (at % _SYLLABLE) * (1.0 / _SYLLABLE)
    envelope = loud[syllable] * (0.1 + 3.6 * within * (1 - within))
    wave = envelope * np.where(voiced[syllable], 0.25 * tone + 0.01 * breath, 0.08 * breath)
    return np.concatenate([wave, np.zeros(FRAME)]).astype(np.float32)[None]
