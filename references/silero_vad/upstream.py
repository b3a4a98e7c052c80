"""The authors' model, out of the pinned package, and what they make of its probabilities.

A TorchScript file is a program. So it is only loaded if its hash is pinned here.
"""

from __future__ import annotations

import hashlib
import importlib
import io
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from references.silero_vad.sizes import RATE

PINNED = {
    "e1122837f4154c511485fe0b9c64455f7b929c96fbb8d79fbdb336383ebd3720": "6.2.3",
    "b178b4bc39467ecd5e9eb0bc6f2fcc291c1cc1cc55a68fea8c0c2c0d5fbbe66c": "6.0.0",
}
"""Version of the package that carries a model, by the model's sha256. What the port's makers publish is of 6.0.0."""


class ForeignModelError(ValueError):
    """A TorchScript file that is not a pinned one."""


def write(path: Path) -> None:
    """Write the checkpoint of the installed package, whose hash has to be a pinned one."""
    path.write_bytes(_checked(files("silero_vad.data").joinpath("silero_vad.jit").read_bytes(), "silero_vad.jit"))


def build(checkpoint: Path) -> Any:
    """Return the authors' model. The bytes that are checked are the bytes that are loaded."""
    content = _checked(checkpoint.read_bytes(), str(checkpoint))
    return torch.jit.load(io.BytesIO(content), map_location="cpu").eval()  # type: ignore[no-untyped-call]


def segments(probabilities: Sequence[float], samples: int) -> list[tuple[int, int]]:
    """Return the stretches of speech, first and last sample, that upstream makes of its probabilities by default."""
    made = _module().get_speech_timestamps_from_probs(
        list(probabilities), sampling_rate=RATE, audio_length_samples=samples
    )
    return [(int(stretch["start"]), int(stretch["end"])) for stretch in made]


def _checked(content: bytes, name: str) -> bytes:
    actual = hashlib.sha256(content).hexdigest()
    if actual not in PINNED:
        raise ForeignModelError(
            f"{name} has sha256 {actual}. A TorchScript file is a program, and none is run except silero_vad.jit of "
            f"silero-vad {' and '.join(PINNED.values())}"
        )
    return content


def _module() -> Any:
    """Return the package's own code. Importing it sets torch to one thread, for the process; this sets it back."""
    threads = torch.get_num_threads()
    try:
        return importlib.import_module("silero_vad.utils_vad")
    finally:
        torch.set_num_threads(threads)
