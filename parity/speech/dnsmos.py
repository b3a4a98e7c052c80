"""Naturalness of speech without a reference: DNSMOS, trained on marks of listeners, with weights from a package."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from parity.base.libraries import librosa
from parity.speech.sound import Samples, resampled
from parity.speech.wheels import Wheel

RATE = 16_000
HEARD = 144_160
"""Samples that the network hears at once; it listens again every second."""
WORST = 1.0
"""The mark of what is not speech at all; the scale ends at 5."""
WHEEL = Wheel(
    "speechmos",
    "0.0.1.1",
    {"speechmos/dnsmos_models/model_v8.onnx": "9246480c58567bc6affd4200938e77eef49468c8bc7ed3776d109c07456f6e91"},
)


class Dnsmos:
    name = "dnsmos"
    about = (
        "DNSMOS P.808: the mark of 1 to 5 that listeners would give; trained on noisy calls, not on synthetic voices"
    )

    def rate(self, audio: Samples, rate: int) -> float:
        """Return the mean mark as the package takes it: what is short is repeated. Loudness makes no difference."""
        heard = resampled(audio, rate, RATE)
        while len(heard) < HEARD:
            heard = np.append(heard, heard)
        starts = range(0, max(1, len(heard) // RATE - HEARD // RATE) * RATE, RATE)
        return float(np.mean([self._mark(heard[start : start + HEARD]) for start in starts]))

    def _mark(self, audio: Samples) -> float:
        power = librosa().feature.melspectrogram(y=audio[:-160], sr=RATE, n_fft=321, hop_length=160, n_mels=120)
        given = (librosa().power_to_db(power, ref=np.max) + 40) / 40
        return float(self._network.run(None, {"input_1": given.T[None].astype(np.float32)})[0][0][0])

    @cached_property
    def _network(self) -> Any:
        import onnxruntime

        (path,) = WHEEL.paths()
        alone = onnxruntime.SessionOptions()
        # One thread sums in one order, and does not wait in a loop for others.
        alone.intra_op_num_threads = 1
        return onnxruntime.InferenceSession(path.read_bytes(), alone, providers=["CPUExecutionProvider"])
