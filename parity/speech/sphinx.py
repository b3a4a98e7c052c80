"""The recognizer that needs no download: pocketsphinx with the models of its own package."""

from __future__ import annotations

from typing import Any

import numpy as np

from parity.speech.numbers import uniform
from parity.speech.sound import Samples, resampled

RATE = 16_000
PEAK = 0.3
PAUSE = 0.25
BED = 10 ** (-30 / 20)
"""Noise under the speech, 30 dB lower. On the digital silence between synthetic words the decoder loses its bearings,
and hears a fifth of the words where it hears two thirds with the noise."""


class Sphinx:
    name = "pocketsphinx"
    about = (
        "pocketsphinx, general US English: hears half to two thirds of the words of espeak-ng. It tells clean speech "
        "from broken; it does not say how well a person would understand it"
    )

    def transcribe(self, audio: Samples, rate: int) -> str:
        """Return the words. The peak is normalised, because gain has gates of its own."""
        # A new one each time: a decoder adapts to what it hears, and would hear the next recording otherwise.
        decoder = self._decoder()
        decoder.start_utt()
        decoder.process_raw(_pcm(resampled(audio, rate, RATE)), no_search=False, full_utt=True)
        decoder.end_utt()
        found = decoder.hyp()
        return str(found.hypstr) if found else ""

    def _decoder(self) -> Any:
        from pocketsphinx import Decoder

        return Decoder(loglevel="FATAL", samprate=RATE)


def _pcm(audio: Samples) -> bytes:
    levelled = audio * (PEAK / max(float(np.abs(audio).max()), 1e-9))
    padded = np.pad(levelled, int(PAUSE * RATE))
    loudness = float(np.sqrt(np.mean(np.square(padded, dtype=np.float64))))
    # Uniform numbers in ±1 have an rms of 1/√3.
    heard = padded + uniform("parity/speech/bed", len(padded)) * np.float32(3**0.5 * BED * loudness)
    return np.rint(np.clip(heard, -1, 1) * 32767).astype("<i2").tobytes()
