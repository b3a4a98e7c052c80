"""NeMo's .nemo, a tar of a configuration and of weights, read without running anything that is in it."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO, Any

import torch
import yaml

CONFIGURATION, WEIGHTS = "model_config.yaml", "model_weights.ckpt"
LARGEST = {CONFIGURATION: 1 << 20, WEIGHTS: 4 << 30}
"""In bytes. The published ones have thousands, and half a thousand millions."""


class ArchiveError(ValueError):
    """A .nemo that can't be taken for a Sortformer's."""


def configuration(path: Path) -> dict[str, Any]:
    try:
        with _member(path, CONFIGURATION) as file:
            found = yaml.safe_load(file)
    except yaml.YAMLError as error:
        raise ArchiveError(f"{path}: {CONFIGURATION} is no YAML: {error}. Fetch it again") from error
    if not isinstance(found, dict):
        raise ArchiveError(f"{path}: {CONFIGURATION} holds no settings. Fetch it again")
    return found


def weights(path: Path) -> dict[str, torch.Tensor]:
    try:
        with _member(path, WEIGHTS) as file:
            found = torch.load(file, map_location="cpu", weights_only=True)
    except ArchiveError:
        raise
    except Exception as error:
        raise ArchiveError(f"{path}: {WEIGHTS} can't be read as tensors alone: {error}. Fetch it again") from error
    found = found.get("state_dict", found) if isinstance(found, Mapping) else found
    if not isinstance(found, Mapping) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise ArchiveError(f"{path}: {WEIGHTS} holds other things than tensors by name. Fetch it again")
    return dict(found)


@contextmanager
def _member(path: Path, name: str) -> Iterator[IO[bytes]]:
    """The one file of this name in the archive, wherever it lies there; nothing is unpacked to disk."""
    try:
        with tarfile.open(path) as archive:
            members = [member for member in archive if PurePosixPath(member.name).name == name]
            if len(members) != 1 or not members[0].isfile():
                raise ArchiveError(f"{path}: holds {len(members)} files {name} where one is expected. Fetch it again")
            if members[0].size > LARGEST[name]:
                raise ArchiveError(f"{path}: {name} is of {members[0].size} bytes, more than any Sortformer's")
            file = archive.extractfile(members[0])
            assert file is not None
            with file:
                yield file
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ArchiveError(f"{path} is no archive that NeMo wrote: {error}. Fetch it again") from error


def write(path: Path, settings: Mapping[str, Any], state: Mapping[str, torch.Tensor]) -> None:
    """An archive as NeMo writes it, in one piece."""
    partial = path.with_name(path.name + ".partial")
    with TemporaryDirectory(dir=path.parent) as folder:
        (Path(folder) / CONFIGURATION).write_text(yaml.safe_dump(dict(settings), sort_keys=False))
        torch.save(dict(state), Path(folder) / WEIGHTS)
        with tarfile.open(partial, "w") as out:
            for name in (CONFIGURATION, WEIGHTS):
                out.add(Path(folder) / name, f"./{name}")
    partial.replace(path)
