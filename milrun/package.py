"""A model package on disk: finds its files, and lets nothing lead outside of it."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

from google.protobuf.message import DecodeError

from milrun.blob import BlobFile
from milrun.errors import ModelError
from milrun.protobuf import model_class

_MODEL_PATH = "@model_path/"
_MAX_MANIFEST = 1 << 20
_MAX_SPEC = (1 << 31) - 1
"""protobuf itself has no larger messages."""


class Package:
    """A ``.mlpackage`` folder, or a bare ``.mlmodel`` file with its weights beside it."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if self.path.is_dir():
            self.spec_file = self._inside(self._spec_from_manifest(), "its model")
        elif self.path.is_file():
            self.spec_file = self.path
        else:
            raise ModelError(f"{self.path}: there is no such package")
        self._blobs: dict[str, BlobFile] = {}

    def spec(self) -> Any:
        """The parsed model specification (a ``Model`` protobuf message)."""
        spec = model_class()()
        try:
            spec.ParseFromString(_read(self.spec_file, _MAX_SPEC))
        except (OSError, DecodeError, RecursionError) as error:
            raise ModelError(f"{self.spec_file}: not a Core ML model specification: {error}") from error
        if spec.WhichOneof("Type") is None:
            raise ModelError(f"{self.spec_file}: not a Core ML model specification: it says no model type")
        return spec

    def blob(self, file_name: str) -> BlobFile:
        """The weight file that a program refers to as ``@model_path/...``."""
        if file_name not in self._blobs:
            if not file_name.startswith(_MODEL_PATH):
                raise ModelError(f"{self.path}: the weight file {file_name!r} is not given by {_MODEL_PATH}")
            relative = PurePosixPath(file_name.removeprefix(_MODEL_PATH))
            self._blobs[file_name] = BlobFile(self._inside(self.spec_file.parent / relative, repr(file_name)))
        return self._blobs[file_name]

    def size(self) -> int:
        """Bytes on disk."""
        if self.path.is_file():
            return self.path.stat().st_size
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())

    def _spec_from_manifest(self) -> Path:
        manifest = self._inside(self.path / "Manifest.json", "Manifest.json")
        try:
            content = json.loads(_read(manifest, _MAX_MANIFEST))
            item = content["itemInfoEntries"][content["rootModelIdentifier"]]["path"]
            return self.path / "Data" / PurePosixPath(item)
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ModelError(f"{manifest}: no valid manifest: {type(error).__name__}: {error}") from error

    def _inside(self, path: Path, what: str) -> Path:
        """Return the path with all links followed; refuse one that leaves the package or is not a plain file."""
        root = (self.path if self.path.is_dir() else self.path.parent).resolve()
        try:
            real = path.resolve(strict=True)
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelError(f"{self.path}: {what} is missing or can't be reached: {error}") from error
        if not real.is_relative_to(root):
            raise ModelError(f"{self.path}: {what} leads outside the package, to {real}")
        if not real.is_file():
            raise ModelError(f"{self.path}: {what} is not a file")
        return real


def _read(path: Path, limit: int) -> bytes:
    size = path.stat().st_size
    if size > limit:
        raise ModelError(f"{path}: has {size} bytes, {limit} are allowed")
    return path.read_bytes()
