"""The voice to speak in: a recording, its spectrogram as upstream makes it, and the style that upstream hears in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

RECORDING = Path(__file__).parent / "recordings" / "voice.flac"
SAMPLE_RATE = 24_000
MELS, FFT, WINDOW, HOP = 80, 2048, 1200, 300
MEL_RATE = 16_000
"""Upstream leaves the rate of its mel filters at the default of torchaudio, whatever rate the audio has."""


def spectrogram(audio: np.ndarray) -> torch.Tensor:
    """Logarithmic mel spectrogram, (1, 1, mels, frames), as upstream's `preprocess` makes it with torchaudio."""
    from librosa.filters import mel as mel_filters  # takes a fifth of a second

    window = torch.hann_window(WINDOW)
    spectrum = torch.stft(torch.from_numpy(audio), FFT, HOP, WINDOW, window, return_complex=True).abs() ** 2
    bank = mel_filters(sr=MEL_RATE, n_fft=FFT, n_mels=MELS, htk=True, norm=None)
    mel = torch.from_numpy(bank) @ spectrum
    return ((torch.log(1e-5 + mel) + 4) / 4)[None, None]


def style(model: Any) -> np.ndarray:
    """The style of the recording: its timbre, then its prosody, (1, 256)."""
    audio, _ = soundfile.read(RECORDING, dtype="float32")
    with torch.no_grad():
        mel = spectrogram(audio)
        found = torch.cat([model["style_encoder"](mel), model["predictor_encoder"](mel)], 1)
    return np.asarray(found.numpy())
