"""Recipes: all that decides what a training run learns."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass

from references.sortformer.bank import Contents


@dataclass(frozen=True)
class Part:
    """Steps over batches of meetings of one length; a share `streamed` of them through cache and queue."""

    steps: int
    seconds: float
    batch: int
    streamed: float


VOICES = Contents("training", speakers=800, utterances=14, seed=5)


@dataclass(frozen=True)
class Recipe:
    """All that decides what is learned. Its hash is in the provenance of the checkpoint."""

    parts: tuple[Part, ...]
    contents: Contents = VOICES
    rate: float = 1e-3
    warm_up: int = 400
    decay: float = 1e-2
    average: float = 0.999
    stretch: float = 0.08
    seed: int = 5
    start: str = ""  # sha256 of the checkpoint that it goes on from; without one, from nothing

    @property
    def steps(self) -> int:
        return sum(part.steps for part in self.parts)

    def part(self, step: int) -> Part:
        for part in self.parts:
            if step < part.steps:
                return part
            step -= part.steps
        raise ValueError(f"step {step} is past the last of {self.steps}")

    def at(self, step: int) -> float:
        """Return the learning rate: up in a line, down in half a cosine to a hundredth."""
        if step < self.warm_up:
            return self.rate * (step + 1) / self.warm_up
        done = (step - self.warm_up) / max(1, self.steps - self.warm_up)
        return self.rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))

    def digest(self) -> str:
        return hashlib.sha256(json.dumps(dataclasses.asdict(self), sort_keys=True).encode()).hexdigest()


RECIPES = {
    "quick": Recipe((Part(2600, 20, 96, 0.0), Part(1800, 60, 32, 0.6))),
    "patient": Recipe((Part(9000, 15, 8, 0.0), Part(2500, 45, 4, 0.6)), rate=6e-4),
    # From a checkpoint that already diarizes some voices (--start), in about an hour of one core.
    "continued": Recipe(
        (Part(300, 12, 8, 0.0), Part(650, 40, 3, 0.6)),
        Contents("training", speakers=400, utterances=10, seed=5),
        rate=5e-4,
        warm_up=60,
        average=0.996,
    ),
}
