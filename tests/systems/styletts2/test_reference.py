"""The recording of StyleTTS2 beside the lines of upstream that it stands for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

pytest.importorskip("styletts2", reason="StyleTTS2 is not installed: make extra-styletts2")

from converters.styletts2.glue import Glue
from references.styletts2 import REFERENCE
from references.styletts2.cases import VOCABULARY, tokens
from references.styletts2.importing import models
from references.styletts2.record import _aligned
from references.styletts2.voice import RECORDING, spectrogram

DURATIONS = torch.tensor([3.0, 1.0, 2.0])


def by_upstream(columns: torch.Tensor) -> np.ndarray:
    """Return columns laid out by the lines of upstream's front door."""
    path = torch.zeros(3, int(DURATIONS.sum()))
    frame = 0
    for i in range(path.size(0)):
        path[i, frame : frame + int(DURATIONS[i])] = 1
        frame += int(DURATIONS[i])
    laid = columns @ path.unsqueeze(0)
    shifted = torch.zeros_like(laid)
    shifted[:, :, 0] = laid[:, :, 0]
    shifted[:, :, 1:] = laid[:, :, 0:-1]
    return np.asarray(shifted.numpy())


def test_frames_are_laid_out_as_by_upstream_in_the_recording_and_on_the_host() -> None:
    columns = torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(0))
    expected = by_upstream(columns)
    assert np.array_equal(_aligned(columns, DURATIONS).numpy(), expected)
    assert np.array_equal(Glue().aligned(columns.numpy(), DURATIONS.numpy().astype(int)), expected)


def test_the_spectrogram_of_the_voice_is_torchaudios() -> None:
    models()  # torchaudio can be imported from here on
    import torchaudio

    audio, rate = soundfile.read(RECORDING, dtype="float32")
    assert rate == REFERENCE.sample_rate
    mel = torchaudio.transforms.MelSpectrogram(n_mels=80, n_fft=2048, win_length=1200, hop_length=300)
    expected = (torch.log(1e-5 + mel(torch.from_numpy(audio))[None]) + 4) / 4
    torch.testing.assert_close(spectrogram(audio)[0], expected, rtol=1e-4, atol=1e-4)


def test_the_numbers_of_phonemes_are_upstreams() -> None:
    from styletts2.text_utils import dicts

    assert dicts == VOCABULARY
    assert tokens("a.").tolist() == [[0, dicts["a"], dicts["."]]]


def test_the_phases_that_upstream_draws_are_not_heard() -> None:
    from styletts2.Modules.hifigan import SineGen

    source = SineGen(24_000, 300, harmonic_num=8, voiced_threshold=10)
    f0 = torch.full((1, 1200, 1), 120.0)

    def sines(seed: int) -> Any:
        torch.manual_seed(seed)
        return source._f02sine(f0 * torch.arange(1, 10))

    assert torch.equal(sines(0), sines(1))


def test_a_checkpoint_is_loaded_strictly(tmp_path: Path) -> None:
    from references.styletts2.upstream import PARTS, build, untrained

    path = tmp_path / "checkpoint.pth"
    state: dict[str, Any] = {part: dict(module.state_dict()) for part, module in untrained().items()}
    assert tuple(state) == PARTS
    state["bert_encoder"] = {f"module.{name}": value for name, value in state["bert_encoder"].items()}
    torch.save({"net": state}, path)
    build(path)
    del state["bert_encoder"]["module.weight"]
    torch.save({"net": state}, path)
    with pytest.raises(RuntimeError, match="Missing key"):
        build(path)
