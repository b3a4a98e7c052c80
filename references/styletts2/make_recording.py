"""Makes `recordings/voice.flac`: a sentence of espeak-ng's voice. Run it as a module."""

from __future__ import annotations

import subprocess

import numpy as np
import soundfile
from scipy.signal import resample_poly

from references.styletts2.voice import RECORDING, SAMPLE_RATE

_ESPEAK_RATE = 22_050
VOICE, WORDS = "en-us+f3", "The ferry leaves at seven."
PEAK = 0.5


def recording() -> np.ndarray:
    command = ["espeak-ng", "-v", VOICE, "-s", "165", "--stdout", WORDS]
    wave = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
    data = wave[wave.index(b"data") + 8 :]
    samples = np.frombuffer(data[: len(data) // 2 * 2], "<i2").astype(np.float64)
    found = resample_poly(samples, SAMPLE_RATE // 150, _ESPEAK_RATE // 150)
    return np.asarray(np.round(found / np.abs(found).max() * PEAK * 32767).astype(np.int16))


if __name__ == "__main__":
    RECORDING.parent.mkdir(exist_ok=True)
    soundfile.write(RECORDING, recording(), SAMPLE_RATE)
