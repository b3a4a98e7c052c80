"""Origin of a checkpoint: written beside it during training, completed when it is measured."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from references.sortformer import speaking
from references.sortformer.recipe import Recipe

PACKAGES = ("torch", "nemo-toolkit", "numpy", "scipy", "librosa")


def beside(checkpoint: Path) -> Path:
    return checkpoint.with_suffix(".json")


def trained(recipe: Recipe, step: int, bank: str, hardware: str) -> dict[str, Any]:
    """Return everything that decided the weights. `bank` is the sha256 of every sample they were trained on."""
    return {
        "recipe": {"sha256": recipe.digest(), **dataclasses.asdict(recipe)},
        "steps": step,
        "bank": bank,
        "hardware": hardware,
        "versions": {"espeak-ng": speaking.version(), **{name: version(name) for name in PACKAGES}},
    }


def write(checkpoint: Path, facts: dict[str, Any]) -> None:
    """Adds these facts to what is known about the checkpoint, and its sha256."""
    path = beside(checkpoint)
    known = json.loads(path.read_text()) if path.exists() else {}
    whole = {**known, **facts, "sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest()}
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(whole, indent=1) + "\n")
    partial.replace(path)
