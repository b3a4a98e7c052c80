"""A build cache: folders under the digest of everything that made them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

from parity.base import cache_use
from parity.base.cache_use import LOCKS, MANIFEST, TEMPORARY
from parity.base.files import writing
from parity.base.fingerprint import digest
from parity.base.paths import Project

_SCHEMA = 1
_KIND = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_KEY = re.compile(r"[0-9a-f]{64}")
_hashed: set[Path] = set()
"""The entries whose contents this process has compared with their manifests."""


class Cache:
    """Folders ``root/<kind>/<key>``, shared by processes that may be killed at any moment.

    An entry comes into place whole, by a rename. A damaged entry is reported and made again. Entries that together
    exceed the limit are removed, those used longest ago first, but none that a running process has used.

    Attributes:
        root: The folder, `.parity` in a project.
        limit: The largest total size in bytes.
    """

    def __init__(self, root: Path, limit: float = 5e9) -> None:
        self.root = Path(root).absolute()
        self.limit = limit
        self._added = 0

    @staticmethod
    def of(project: Project) -> Cache:
        """Return the cache of a project, with the limit that its configuration sets."""
        return Cache(project.state_folder, project.cache_gb * 1e9)

    def has(self, kind: str, key: str) -> bool:
        """Return whether an entry is there, with all of its files in their sizes. Contents are compared at use."""
        return self._fault(self._folder(kind, key), contents=False) == ""

    def find(self, kind: str, key: str) -> Path | None:
        """Return the folder of a complete entry with the contents that its manifest names, or None."""
        folder = self._folder(kind, key)
        fault = self._fault(folder)
        if fault:
            warnings.warn(f"a damaged cache entry is not used: {fault}. Delete {folder}", stacklevel=2)
        return folder if fault == "" else None

    def get(self, kind: str, key: str, make: Callable[[Path], None], parts: Mapping[str, Any] | None = None) -> Path:
        """Return the folder of an entry. If there is none, `make` fills it, while other processes wait for it.

        Args:
            kind: What the entry is, such as `artifact`.
            key: The digest of everything that makes it.
            make: Fills the empty folder that it is given.
            parts: Describes what made the entry; it goes into the manifest.
        """
        folder = self._folder(kind, key)
        if self._fault(folder) == "":
            return folder
        digest(parts or {})
        with writing(self.root):
            cache_use.claim(self.root)
            with FileLock(self.root / LOCKS / f"{kind}.{key}.lock"):
                fault = self._fault(folder)
                if fault == "":
                    return folder
                if fault:
                    warnings.warn(f"a damaged cache entry is made again: {fault}", stacklevel=2)
                self._make(folder, make, {"schema": _SCHEMA, "kind": kind, "key": key, "parts": dict(parts or {})})
        if self._added > self.limit / 20:
            self.trim()
        return folder

    def trim(self) -> list[Path]:
        """Remove the entries that were used longest ago until the rest fit the limit; return the removed folders."""
        self._added = 0
        return cache_use.trim(self.root, self.limit)

    def _folder(self, kind: str, key: str) -> Path:
        if not _KIND.fullmatch(kind) or kind in cache_use.OWN:
            raise ValueError(f"a cache kind is a lower-case word, and not {', '.join(cache_use.OWN)}: {kind!r}")
        if not _KEY.fullmatch(key):
            raise ValueError(f"a cache key is a sha256 in 64 hexadecimal digits, not {key!r}")
        return self.root / kind / key

    def _fault(self, folder: Path, contents: bool = True) -> str | None:
        """Return the fault of an entry: empty for a sound one, None where there is none. Using it keeps it alive."""
        if not cache_use.touch(self.root, folder):
            return None
        if folder.is_symlink() or not folder.is_dir():
            return f"{folder} is not a folder"
        try:
            kept = json.loads((folder / MANIFEST).read_bytes())
            if (kept["schema"], kept["kind"], kept["key"]) != (_SCHEMA, folder.parent.name, folder.name):
                return f"{folder} has the manifest of another entry or schema"
            files = _files(folder)
            if off := sorted(files.keys() ^ kept["files"].keys()):
                return f"{folder / off[0]} is {'not in the manifest' if off[0] in files else 'missing'}"
            for name, path in files.items():
                if path.stat().st_size != kept["files"][name]["size"]:
                    return f"{path} has another size than its manifest says"
                if contents and folder not in _hashed and _sha256(path) != kept["files"][name]["sha256"]:
                    return f"{path} has other contents than its manifest says"
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            return f"{folder} can't be read: {error}"
        if contents:
            _hashed.add(folder)
        return ""

    def _make(self, folder: Path, make: Callable[[Path], None], manifest: dict[str, Any]) -> None:
        """Make an entry under its lock. No other build of it is alive, so that folders of killed ones are removed."""
        _hashed.discard(folder)
        temporary = self.root / TEMPORARY
        for abandoned in (*temporary.glob(f"{folder.parent.name}.{folder.name}.*"), folder):
            _remove(abandoned)
        # Never the folder of a killed build, for a child of that build may still be writing to it.
        new = temporary / f"{folder.parent.name}.{folder.name}.{secrets.token_hex(4)}"
        new.mkdir(parents=True)
        try:
            make(new)
            files = _files(new)
            if not files or MANIFEST in map(str.casefold, files):
                raise ValueError(f"{folder.parent.name} {folder.name}: an entry is one file or more, none {MANIFEST}")
            sizes = {name: path.stat().st_size for name, path in files.items()}
            manifest["files"] = {name: {"size": sizes[name], "sha256": _sha256(files[name])} for name in sorted(files)}
            (new / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True), encoding="utf-8")
            folder.parent.mkdir(exist_ok=True)
            new.rename(folder)
        finally:
            _remove(new)
        _hashed.add(folder)
        self._added += sum(sizes.values())


def _files(folder: Path) -> dict[str, Path]:
    """Return every file below, by its name in the entry. Links and the like are refused: they may lead elsewhere."""
    found, folders = {}, [("", str(folder))]
    while folders:
        within, place = folders.pop()
        with os.scandir(place) as entries:
            for entry in entries:
                name = within + entry.name
                if entry.is_dir(follow_symlinks=False):
                    folders.append((f"{name}/", entry.path))
                elif not entry.is_file(follow_symlinks=False):
                    raise ValueError(f"{entry.path} is neither a file nor a folder")
                elif name != MANIFEST:
                    found[name] = Path(entry.path)
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(FileNotFoundError):
            path.unlink()
