"""The weights of a Sortformer, as NeMo names them; NeMo itself is built only where something is recorded."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from references.sortformer import archive
from references.sortformer.config import Sizes, configuration
from references.sortformer.settings import ported, sizes_of

TRAINED = Path(__file__).parent / "checkpoint.safetensors"
SHA256 = "e28d08493e1a5d61346dae95101d6c38bde5baf0fe43443d94af94d57268b7c9"


@dataclass(frozen=True)
class Source:
    """Source of the port's graphs and of the goldens: weights of the trained model, or an archive of the published
    one, written by NeMo."""

    path: Path

    @property
    def is_archive(self) -> bool:
        return tarfile.is_tarfile(self.path)

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """The configuration of NeMo's class."""
        return ported(archive.configuration(self.path), str(self.path)) if self.is_archive else configuration()

    @cached_property
    def state(self) -> dict[str, torch.Tensor]:
        """The weights in fp32; counters keep their type."""
        weights = archive.weights(self.path) if self.is_archive else _read(self.path)
        return {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}

    @property
    def sizes(self) -> Sizes:
        return sizes_of(self.settings)

    @cached_property
    def nemo(self) -> Any:
        """NeMo's model with these weights."""
        from references.sortformer import upstream

        return upstream.build(self.settings, self.state)


def _read(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(
            f"{path} is neither a .nemo nor a file of safetensors: {error}. Name another checkpoint"
        ) from error


def trained(path: Path) -> None:
    """Puts the checkpoint that the project trained at this path, once it is found to be the one that is meant."""
    found = hashlib.sha256(TRAINED.read_bytes()).hexdigest()
    if found != SHA256:
        raise ValueError(f"{TRAINED} has sha256 {found}, {SHA256} is expected. Mend: git checkout -- {TRAINED}")
    shutil.copyfile(TRAINED, path)
