"""What takes long to make, kept under the digest of everything that made it."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from parity.base import cache_entry
from parity.base.cache_entry import DamagedEntryError, Manifest
from parity.base.files import sync
from parity.base.fingerprint import digest

_TEMPORARY, _LOCKS, _DAMAGED = "tmp", "locks", "damaged"
_KIND = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_KEY = re.compile(r"[0-9a-f]{64}")
_UNFINISHED = re.compile(rf"({_KIND.pattern})\.({_KEY.pattern})\.[0-9a-f]+")


class Cache:
    """A store of folders, ``root/<kind>/<key>``, that many processes share and that may be killed at any moment.

    An entry appears whole, by a rename. What is found damaged is never used: it is reported, moved aside and made anew.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root).absolute()
        for folder in (_TEMPORARY, _LOCKS):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        self._remove_unfinished()

    def find(self, kind: str, key: str) -> Path | None:
        """The folder of a complete, verified entry."""
        folder = self._folder(kind, key)
        try:
            return folder if self._verified(kind, key) else None
        except DamagedEntryError as damage:
            warnings.warn(f"a damaged cache entry is not used: {damage}. Delete {folder}", stacklevel=2)
            return None

    def get(self, kind: str, key: str, make: Callable[[Path], None], parts: Mapping[str, Any] | None = None) -> Path:
        """The folder of an entry, which `make` fills if there is none. Whoever else wants it meanwhile, waits for it.

        `parts` tells what made it; it goes into the manifest.
        """
        folder = self._folder(kind, key)
        digest(parts or {})
        with suppress(DamagedEntryError):
            if self._verified(kind, key):
                return folder
        with self._lock(kind, key):
            try:
                if self._verified(kind, key):
                    return folder
            except DamagedEntryError as damage:
                aside = self._move_aside(kind, key)
                warnings.warn(f"a damaged cache entry is made anew: {damage}. It lies in {aside}", stacklevel=2)
            self._remove_abandoned(kind, key)
            self._make(kind, key, make, parts or {})
        return folder

    def parts(self, kind: str, key: str) -> Mapping[str, Any]:
        """What made an entry."""
        manifest = self._verified(kind, key)
        if manifest is None:
            raise LookupError(f"the cache has no {kind} {key}: {self._folder(kind, key)} is not there")
        return manifest.parts

    def sweep(self, kind: str, keep: int, idle: float = 3600.0) -> list[str]:
        """Drop the entries that were used longest ago until the rest hold at most `keep` bytes; gives their keys.

        What was used in the last `idle` seconds stays, since somebody may be reading it.
        """
        folders = [folder for folder in (self.root / _checked(kind)).glob("*") if _KEY.fullmatch(folder.name)]
        used = sorted((folder.stat().st_mtime, folder, cache_entry.size(folder)) for folder in folders)
        total = sum(size for _, _, size in used)
        dropped = []
        for when, folder, size in used:
            if total <= keep or time.time() - when < idle:
                break
            with self._lock(kind, folder.name):
                if folder.exists() and folder.stat().st_mtime == when:
                    self._remove(folder, kind, folder.name)
                    dropped.append(folder.name)
            total -= size
        return dropped

    def _folder(self, kind: str, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError(f"a cache key is a sha256 in 64 hexadecimal digits, not {key!r}")
        return self.root / _checked(kind) / key

    def _verified(self, kind: str, key: str) -> Manifest | None:
        folder = self._folder(kind, key)
        if not os.path.lexists(folder):
            return None
        manifest = cache_entry.verify(folder, kind, key)
        with suppress(OSError):  # when it was used last matters to sweep only, and the cache may be read-only
            os.utime(folder)
        return manifest

    def _lock(self, kind: str, key: str) -> FileLock:
        """Held while an entry is made or removed. A lock of the system: it goes when its process goes."""
        return FileLock(self.root / _LOCKS / f"{kind}.{key}.lock")

    def _make(self, kind: str, key: str, make: Callable[[Path], None], parts: Mapping[str, Any]) -> None:
        folder = self._folder(kind, key)
        temporary = self._temporary(kind, key)
        temporary.mkdir()
        try:
            make(temporary)
            cache_entry.seal(temporary, kind, key, parts)
            folder.parent.mkdir(exist_ok=True)
            temporary.rename(folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync(folder.parent)

    def _temporary(self, kind: str, key: str) -> Path:
        """A name that was never used: a child of a killed build may still be writing to that build's folder."""
        return self.root / _TEMPORARY / f"{kind}.{key}.{secrets.token_hex(4)}"

    def _move_aside(self, kind: str, key: str) -> Path:
        aside = self.root / _DAMAGED / f"{kind}.{key}"
        aside.parent.mkdir(exist_ok=True)
        if os.path.lexists(aside):
            self._remove(aside, kind, key)
        self._folder(kind, key).rename(aside)
        return aside

    def _remove(self, path: Path, kind: str, key: str) -> None:
        """Out of sight in one step, then file by file. Under the entry's lock."""
        temporary = self._temporary(kind, key)
        path.rename(temporary)
        _delete(temporary)

    def _remove_abandoned(self, kind: str, key: str) -> None:
        """What killed builds left. Under the entry's lock, so that no build of it is alive."""
        for path in (self.root / _TEMPORARY).glob(f"{kind}.{key}.*"):
            _delete(path)

    def _remove_unfinished(self) -> None:
        names = [_UNFINISHED.fullmatch(path.name) for path in (self.root / _TEMPORARY).iterdir()]
        for kind, key in {(name[1], name[2]) for name in names if name}:
            lock = self._lock(kind, key)
            with suppress(Timeout), lock.acquire(timeout=0):
                self._remove_abandoned(kind, key)


def _checked(kind: str) -> str:
    if not _KIND.fullmatch(kind) or kind in (_TEMPORARY, _LOCKS, _DAMAGED):
        raise ValueError(
            f"a cache kind is a lower-case word that is not {_TEMPORARY}, {_LOCKS} or {_DAMAGED}: {kind!r}"
        )
    return kind


def _delete(path: Path) -> None:
    """Remove as much as can be: what is left over lies in the temporary folder, where nothing is ever read."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
