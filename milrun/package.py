"""A model on disk: finds its files, and lets no path in it lead elsewhere."""

from __future__ import annotations

import json
import re
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from google.protobuf.message import DecodeError

from milrun import mlmodelc
from milrun.blob import BlobFile
from milrun.errors import ModelError
from milrun.protobuf import model_class
from milrun.text.reader import read_program

_MODEL_PATH = "@model_path/"
_MANIFEST = "Manifest.json"
_NETWORK = "model.espresso.net"
_MAX_MANIFEST = 1 << 20
_MAX_TEXT = 1 << 28
_MAX_SPEC = (1 << 31) - 1
"""protobuf itself has no larger messages."""

_POINTER = b"version https://git-lfs.github.com/spec/"
_ENCRYPTED = "milrun has no keys, use the model that it was made of"
_PART = re.compile(r"model(\d+)")


class Package:
    """A ``.mlpackage`` folder, a compiled ``.mlmodelc`` folder, or a bare ``.mlmodel`` file with its weights beside it.

    Parameters
    ----------
    path
        Where it lies. Its files may be links to plain files, as a model hub's client lays them.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.compiled = _is_compiled(self.path)
        if self.compiled:
            lies = self.path / mlmodelc.PROGRAM
        elif self.path.is_dir():
            lies = self._spec_from_manifest()
        elif self.path.is_file():
            lies = self.path
        else:
            raise ModelError(f"{self.path}: there is no such package")
        self._folder = lies.parent
        # A compiled model without a program may be a pipeline.
        self.spec_file = lies if self.compiled and not _exists(lies) else self._inside(lies, "its model")
        self._blobs: dict[str, BlobFile] = {}

    def spec(self) -> Any:
        """Return the model specification, a ``Model`` protobuf message."""
        if self.compiled:
            return self._compiled_spec()
        spec = model_class()()
        try:
            spec.ParseFromString(_read(self.spec_file, _MAX_SPEC))
        except (OSError, DecodeError, RecursionError) as error:
            raise ModelError(f"{self.spec_file}: not a Core ML model specification: {error}") from error
        if spec.WhichOneof("Type") is None:
            raise ModelError(f"{self.spec_file}: not a Core ML model specification: it says no model type")
        return spec

    @cached_property
    def parts(self) -> list[Package]:
        """The models of a compiled pipeline, in their order; empty where this is not one."""
        if not self.compiled:
            return []
        found = {int(name[1]): path for path in self.path.iterdir() if (name := _PART.fullmatch(path.name))}
        for path in found.values():
            if path.is_symlink():
                raise ModelError(f"{self.path}: {path.name} is a link to a folder, which leads outside the package")
        return [Package(found[number]) for number in sorted(found)]

    def blob(self, file_name: str) -> BlobFile:
        """Return the weight file that a program refers to as ``@model_path/...``."""
        if file_name not in self._blobs:
            if not file_name.startswith(_MODEL_PATH):
                raise ModelError(f"{self.path}: the weight file {file_name!r} is not given by {_MODEL_PATH}")
            relative = PurePosixPath(file_name.removeprefix(_MODEL_PATH))
            # Where the model lies in the package: a link of it may lead elsewhere.
            path = self._inside(self._folder / relative, repr(file_name))
            _refuse_pointer(path)
            self._blobs[file_name] = BlobFile(path)
        return self._blobs[file_name]

    def size(self) -> int:
        """Return the bytes on disk."""
        if self.path.is_file():
            return self.path.stat().st_size
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())

    def _compiled_spec(self) -> Any:
        metadata_file, place = self.path / mlmodelc.METADATA, str(self.path)
        metadata = None
        if _exists(metadata_file):
            text = _read(self._inside(metadata_file, mlmodelc.METADATA), _MAX_MANIFEST)
            metadata = mlmodelc.parse_metadata(text, str(metadata_file))
        kind = mlmodelc.model_type(metadata)
        if not _exists(self.path / mlmodelc.PROGRAM):
            self._refuse_without_program(kind, metadata)
            spec = model_class()()
            spec.pipeline.SetInParent()
            mlmodelc.describe(spec.description, metadata, place)
            return spec
        try:
            program = _read(self.spec_file, _MAX_TEXT).decode()
        except UnicodeDecodeError as error:
            raise ModelError(f"{self.spec_file}: not text ({error}), as in an encrypted model: {_ENCRYPTED}") from error
        return mlmodelc.described(read_program(program, str(self.spec_file)), metadata, self._description(), place)

    def _description(self) -> bytes:
        path = self.path / mlmodelc.DESCRIPTION
        return _read(self._inside(path, mlmodelc.DESCRIPTION), _MAX_MANIFEST) if _exists(path) else b""

    def _refuse_without_program(self, kind: str, metadata: Any) -> None:
        """Raise for a compiled model that is neither a program nor a pipeline, and say what it is."""
        if any(path.name.lower().startswith("encryptioninfo") for path in self.path.iterdir()):
            raise ModelError(
                f"{self.path}: the model is encrypted, and milrun has no keys: use the model it was made of"
            )
        if kind in ("neuralNetwork", "neuralNetworkClassifier") or _exists(self.path / _NETWORK):
            layers = mlmodelc.layers(metadata) or "not counted"
            raise ModelError(
                f"{self.path}: a NeuralNetwork (layers: {layers}); milrun runs ML programs: convert the model with "
                "convert_to='mlprogram'"
            )
        if not self.parts:
            raise ModelError(
                f"{self.path}: there is no {mlmodelc.PROGRAM}; {f'a model of type {kind}' if kind else ''}"
            )

    def _spec_from_manifest(self) -> Path:
        manifest = self._inside(self.path / _MANIFEST, _MANIFEST)
        try:
            content = json.loads(_read(manifest, _MAX_MANIFEST))
            item = content["itemInfoEntries"][content["rootModelIdentifier"]]["path"]
            return self.path / "Data" / PurePosixPath(item)
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ModelError(f"{manifest}: no valid manifest: {type(error).__name__}: {error}") from error

    def _inside(self, path: Path, what: str) -> Path:
        """Return a file of the package. Its folder has to lie in the package with all links followed; the file itself
        may be a link to a plain file elsewhere, which is how a hub's client lays a package."""
        root = (self.path if self.path.is_dir() else self.path.parent).resolve()
        try:
            folder, real = path.parent.resolve(strict=True), path.resolve(strict=True)
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelError(f"{self.path}: {what} is missing or can't be reached: {error}") from error
        if path.name == ".." or not folder.is_relative_to(root):
            raise ModelError(f"{self.path}: {what} leads outside the package, to {real}")
        if not real.is_file():
            raise ModelError(f"{self.path}: {what} is not a file")
        return real


def _is_compiled(path: Path) -> bool:
    names = (mlmodelc.PROGRAM, mlmodelc.DESCRIPTION, mlmodelc.METADATA)
    return path.is_dir() and not _exists(path / _MANIFEST) and any(_exists(path / name) for name in names)


def _exists(path: Path) -> bool:
    """Return whether something of this name is there, be it a broken link."""
    return path.is_symlink() or path.exists()


def _read(path: Path, limit: int) -> bytes:
    size = path.stat().st_size
    if size > limit:
        raise ModelError(f"{path}: has {size} bytes, {limit} are allowed")
    _refuse_pointer(path)
    return path.read_bytes()


def _refuse_pointer(path: Path) -> None:
    with path.open("rb") as file:
        if file.read(len(_POINTER)) == _POINTER:
            raise ModelError(f"{path}: a Git LFS pointer in place of the file: run `git lfs pull` where it was cloned")
