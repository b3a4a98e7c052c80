"""The speaker encoder with trained weights from a package: that of Resemblyzer, GE2E, in PyTorch of ours.

The package is not imported: it reads its weights as a pickle, and wants a voice detector that cuts pauses away, which a
likeness of two takes of one text does without.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.base.libraries import librosa
from parity.speech.sound import Samples, SpeechError, resampled
from parity.speech.wheels import Wheel

RATE = 16_000
MELS, WIDTH, LAYERS = 40, 256, 3
WINDOW, HOP = 400, 160
FRAMES, STEP = 160, 77
"""Frames of a slice, and from one slice to the next: 1.3 slices a second, as the authors average them."""
COVERED = 0.75
"""A last slice that has less of the recording is left out."""
LOUDNESS = 10 ** (-30 / 20)
WHEEL = Wheel(
    "Resemblyzer",
    "0.1.4",
    {"resemblyzer/pretrained.pt": "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e"},
)


class Ge2e:
    name = "ge2e"
    about = "Resemblyzer's encoder, trained on thousands of voices: says whether the same person speaks"

    def embed(self, audio: Samples, rate: int) -> NDArray[np.float32]:
        """Return the embedding. The loudness is normalised, because gain has gates of its own."""
        import torch

        slices = torch.from_numpy(_slices(_levelled(resampled(audio, rate, RATE))))
        lstm, linear = self._network
        with torch.inference_mode():
            _, (hidden, _) = lstm(slices)
            found = torch.nn.functional.normalize(torch.relu(linear(hidden[-1])), dim=1).mean(dim=0)
        return np.asarray(found.numpy())

    @cached_property
    def _network(self) -> tuple[Any, Any]:
        import torch

        (path,) = WHEEL.paths()
        state = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
        network = torch.nn.ModuleDict(
            {"lstm": torch.nn.LSTM(MELS, WIDTH, LAYERS, batch_first=True), "linear": torch.nn.Linear(WIDTH, WIDTH)}
        )
        # The two numbers of the loss that it was trained with.
        kept = {name: value for name, value in state.items() if not name.startswith("similarity_")}
        try:
            network.load_state_dict(kept)
        except RuntimeError as error:
            raise SpeechError(f"{path} does not fit the network: {error}") from error
        network.eval()
        return network["lstm"], network["linear"]


def _levelled(audio: Samples) -> Samples:
    loudness = np.sqrt(np.mean(np.square(audio, dtype=np.float64)))
    return np.asarray(audio * (LOUDNESS / max(float(loudness), 1e-9)), np.float32)


def _slices(audio: Samples) -> NDArray[np.float32]:
    """Return mel power of overlapping slices, (slices, frames, mels), as the authors cut them."""
    total = -(-(len(audio) + 1) // HOP)
    starts = list(range(0, max(1, total - FRAMES + STEP + 1), STEP))
    if len(starts) > 1 and len(audio) - starts[-1] * HOP < COVERED * FRAMES * HOP:
        starts.pop()
    padded = np.pad(audio, (0, max(0, (starts[-1] + FRAMES) * HOP - len(audio))))
    mel = librosa().feature.melspectrogram(y=padded, sr=RATE, n_fft=WINDOW, hop_length=HOP, n_mels=MELS)
    return np.stack([mel.T[start : start + FRAMES] for start in starts]).astype(np.float32)
