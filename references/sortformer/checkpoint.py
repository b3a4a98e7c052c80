"""The weights of a Sortformer, as NeMo names them; NeMo itself is built only where something is recorded."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from references.sortformer import config

TRAINED = Path(__file__).parent / "checkpoint.safetensors"
SHA256 = "e28d08493e1a5d61346dae95101d6c38bde5baf0fe43443d94af94d57268b7c9"


@dataclass(frozen=True)
class Source:
    """What the port's graphs are cut from, and what goldens are recorded with."""

    path: Path

    @cached_property
    def state(self) -> dict[str, torch.Tensor]:
        """In fp32, but for what was counted."""
        weights = load_file(self.path)
        return {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}

    @property
    def transformer_heads(self) -> int:
        """The one size that no tensor shows."""
        return config.TRANSFORMER_HEADS

    @cached_property
    def nemo(self) -> Any:
        """NeMo's model with these weights."""
        from references.sortformer import upstream

        return upstream.build(self.path)


def trained(path: Path) -> None:
    """Puts the checkpoint that the project trained at this path, once it is found to be the one that is meant."""
    found = hashlib.sha256(TRAINED.read_bytes()).hexdigest()
    if found != SHA256:
        raise ValueError(f"{TRAINED} has sha256 {found}, {SHA256} is expected. Mend: git checkout -- {TRAINED}")
    shutil.copyfile(TRAINED, path)
