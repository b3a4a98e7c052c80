"""Makes `recordings/speech.flac`: sentences and words of espeak-ng's voices, pauses, and noise. Run it as a module."""

from __future__ import annotations

import subprocess

import numpy as np
from scipy.signal import resample_poly

from references.silero_vad.cases import CUTS, RECORDING
from references.silero_vad.sizes import RATE

_ESPEAK_RATE = 22_050
SPOKEN = (
    ("en-us", "The train was late again.", 0.5, 0.30),
    ("en-gb+f3", "Nobody on the platform seemed to mind.", 0.7, 0.12),
    ("en-us+m3", "She counted: one.", 1.0, 0.25),
    ("en-us+m3", "Two.", 0.35, 0.25),
    ("en-us+m3", "Three!", 0.25, 0.25),
    ("en-gb+f3", "Somewhere behind the hall a door fell shut, and then it was quiet.", 1.3, 0.06),
    ("en-us", "Is anybody there?", 2.2, 0.35),
    ("en-gb+f3", "Yes.", 0.6, 0.2),
    ("en-us+m3", "Good, then we can go.", 0.4, 0.2),
)
"""Voice, words, seconds of pause before them, and peak."""
LOUD = (4.6, 7.6, 0.006)
"""From one second to another, noise of this rms."""
FAINT = 0.00015


def spoken(voice: str, words: str) -> np.ndarray:
    command = ["espeak-ng", "-v", voice, "-s", "165", "--stdout", words]
    wave = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
    data = wave[wave.index(b"data") + 8 :]
    samples = np.frombuffer(data[: len(data) // 2 * 2], "<i2").astype(np.float64)
    found = resample_poly(samples, 320, 441)
    return np.asarray(found / np.abs(found).max())


def recording() -> np.ndarray:
    length = max(cut.begin + cut.samples for cut in CUTS.values())
    random = np.random.default_rng(13)
    audio = random.standard_normal(length) * FAINT
    begin, end, level = LOUD
    noise = audio[int(begin * RATE) : int(end * RATE)]
    noise += random.standard_normal(len(noise)) * level
    at = 0
    for voice, words, pause, peak in SPOKEN:
        said = spoken(voice, words) * peak
        at += int(pause * RATE)
        within = said[: max(0, length - at)]
        audio[at : at + len(within)] += within
        at += len(said)
    return np.round(audio * 32768).astype(np.int16)


if __name__ == "__main__":
    import soundfile

    RECORDING.parent.mkdir(exist_ok=True)
    soundfile.write(RECORDING, recording(), RATE, subtype="PCM_16")
    print(f"{RECORDING}: {RECORDING.stat().st_size / 1e3:.0f} KB")
