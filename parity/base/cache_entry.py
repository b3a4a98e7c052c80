"""One entry of the cache: a folder, and the manifest that says what it holds and what made it."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parity.base.files import sync

MANIFEST = "manifest.json"
SCHEMA = 1
_MAX_MANIFEST = 1 << 26

Signature = tuple[tuple[str, int, int, int, int], ...]
"""Of every file its name, inode, size and times: equal only if nothing was touched."""

_verified: dict[Path, Signature] = {}
"""The entries whose contents this process has hashed, as they were then."""


class DamagedEntryError(Exception):
    """An entry that is not what was put there; the message names the file and the fault."""


@dataclass(frozen=True)
class Manifest:
    parts: Mapping[str, Any]
    files: Mapping[str, tuple[int, str]]


def seal(folder: Path, kind: str, key: str, parts: Mapping[str, Any]) -> None:
    """Write the manifest, last of all, once the disk holds what it vouches for."""
    files = {}
    try:
        written = dict(_files(folder))
    except DamagedEntryError as error:
        raise ValueError(f"{kind} {key}: {error}") from error
    for name, status in sorted(written.items()):
        if name.casefold() == MANIFEST:
            raise ValueError(f"{kind} {key}: {name} is the manifest's own name; write the file under another one")
        files[name] = {"size": status.st_size, "sha256": _sha256(folder / name)}
        sync(folder / name)
    if not files:
        raise ValueError(f"{kind} {key}: nothing was written into {folder}; an entry holds at least one file")
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            sync(path)
    manifest = {"schema": SCHEMA, "kind": kind, "key": key, "parts": dict(parts), "files": files}
    with (folder / MANIFEST).open("x", encoding="utf-8") as file:
        json.dump(manifest, file, indent=1, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    sync(folder)


def verify(folder: Path, kind: str, key: str) -> Manifest:
    """The manifest of an entry that is what it says. Contents are hashed once in a process, unless they are touched."""
    try:
        if folder.is_symlink() or not folder.is_dir():
            raise DamagedEntryError(f"{folder} is not a folder")
        manifest = _read(folder / MANIFEST, kind, key)
        found = dict(_files(folder))
        for name in sorted(found.keys() ^ manifest.files.keys() ^ {MANIFEST}):
            raise DamagedEntryError(f"{folder / name} is {'not in the manifest' if name in found else 'missing'}")
        for name, (size, _) in manifest.files.items():
            if found[name].st_size != size:
                raise DamagedEntryError(f"{folder / name} has {found[name].st_size} bytes, its manifest says {size}")
        signature = tuple(
            (name, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns) for name, now in sorted(found.items())
        )
        if _verified.get(folder) != signature:
            for name, (_, sha256) in manifest.files.items():
                if _sha256(folder / name) != sha256:
                    raise DamagedEntryError(f"{folder / name} has other contents than its manifest says")
            _verified[folder] = signature
    except OSError as error:
        raise DamagedEntryError(f"{error.filename or folder} can't be read: {error.strerror}") from error
    return manifest


def size(folder: Path) -> int:
    """Bytes on disk, sound or not."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def _read(path: Path, kind: str, key: str) -> Manifest:
    if not path.is_file() or path.is_symlink():
        raise DamagedEntryError(f"{path} is missing")
    if path.stat().st_size > _MAX_MANIFEST:
        raise DamagedEntryError(f"{path} is too large for a manifest")
    try:
        data = json.loads(path.read_bytes())
        if (data["schema"], data["kind"], data["key"]) != (SCHEMA, kind, key):
            raise DamagedEntryError(f"{path} is the manifest of another entry or schema")
        files = {name: (int(file["size"]), str(file["sha256"])) for name, file in data["files"].items()}
        if not files or not isinstance(data["parts"], dict):
            raise DamagedEntryError(f"{path} lists no files or no parts")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedEntryError(f"{path} is no valid manifest: {error!r}") from error
    return Manifest(data["parts"], files)


def _files(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Every file below, by its name in the entry. What is neither file nor folder is refused: it may lead elsewhere."""
    for path in folder.rglob("*"):
        status = path.lstat()
        if stat.S_ISREG(status.st_mode):
            yield path.relative_to(folder).as_posix(), status
        elif not stat.S_ISDIR(status.st_mode):
            fault = "a symlink" if stat.S_ISLNK(status.st_mode) else "neither a file nor a folder"
            raise DamagedEntryError(f"{path} is {fault}; an entry holds files and folders only")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
