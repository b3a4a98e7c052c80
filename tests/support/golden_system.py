"""A system of two stages, in a few lines of numpy: small enough to be recorded in milliseconds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from parity.base.cache import Cache
from parity.declarations import Case, Hub, Reference, Seam
from parity.golden.store import GoldenStore
from parity.plan.weights import Weights

LARGE = 160_000
"""More float32 values than git takes whole."""


def seed(checkpoint: Path) -> None:
    torch.save({"weight": torch.linspace(-1, 1, 12).reshape(3, 4), "gain": torch.ones(1)}, checkpoint)


def build(checkpoint: Path) -> Any:
    return {name: value.numpy() for name, value in torch.load(checkpoint, weights_only=True).items()}


def record(model: Any, case: Case) -> Iterator[Seam]:
    hidden = np.tanh(case.inputs["x"] @ model["weight"] * model["gain"])
    durations = np.arange(1, 5, dtype=np.int32)[None]
    yield Seam("encoder", {"x": case.inputs["x"]}, {"hidden": hidden, "durations": durations})
    time = np.arange(LARGE, dtype=np.float32) / LARGE
    audio = np.sin(40 * time * hidden.mean()) * np.float32(0.5) * model["gain"]
    yield Seam("decoder", {"hidden": hidden, "durations": durations}, {"audio": audio.astype(np.float32)[None]})


def case(name: str, scale: float = 1.0) -> Case:
    return Case(name, {"x": np.array([[0.5, -1.0, 2.0]], np.float32) * np.float32(scale)}, short=True)


REFERENCE = Reference(
    name="tiny",
    sample_rate=8_000,
    cases=(case("hello"), case("flight", 0.3)),
    packages=("numpy",),
    checkpoint=Hub("nobody/tiny", "tiny.pth", "0" * 40, "0" * 64),
    seed=seed,
    build=build,
    record=record,
)


def weights(
    folder: Path, gain: float = 1.0, source: str = "seeded", revision: str = "first", available: bool = True
) -> Weights:
    """`gain` changes what the checkpoint holds, not what it is said to be. Where none is available, nothing can run."""

    def find() -> Path:
        if not available:
            raise RuntimeError("the reference was about to run")
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{gain}.pth"
        seed(path)
        content = torch.load(path, weights_only=True)
        torch.save({**content, "gain": torch.full((1,), gain)}, path)
        return path

    room = "" if source == "seeded" else f"weights-{source}"
    return Weights(source, {"source": source, "revision": revision}, find, room)


@dataclass(frozen=True)
class World:
    """Where the goldens, the cache and the checkpoints of a test lie."""

    folder: Path

    @property
    def goldens(self) -> Path:
        return self.folder / "golden"

    @property
    def own(self) -> Path:
        return self.goldens / "tiny"

    def store(self, reference: Reference = REFERENCE, machine: str = "this", **options: Any) -> GoldenStore:
        """As a new process has it, with `weights` of these options. Another `machine` has a cache of its own."""
        cache = Cache(self.folder / f"cache-{machine}")
        return GoldenStore(reference, self.goldens, cache, weights(self.folder / "weights", **options))


def quiet(line: str) -> None:
    """Says nothing."""
