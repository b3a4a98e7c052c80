"""A build cache: folders under the digest of everything that made them, removed when they were used longest ago.

Using an entry sets its time. Each process that uses a cache holds a lock file from its first use on. So an entry is in
use if its time is later than the start of any running process.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from parity.base.files import sha256, writing
from parity.base.fingerprint import digest
from parity.base.paths import Project

_SCHEMA = 1
_KIND = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_KEY = re.compile(r"[0-9a-f]{64}")
_RUN = re.compile(r"\d{8}T\d{6}-[0-9a-f]{6}")
_LEFT = re.compile(rf"({_KIND.pattern})\.({_KEY.pattern}|{_RUN.pattern})\.(removed|[0-9a-f]{{8}})")
TEMPORARY, LOCKS, RUNS, MANIFEST = "tmp", "locks", "runs", "manifest.json"
OWN = (TEMPORARY, LOCKS, "base", "gate", RUNS)
"""Folders of `.parity` that hold no cache entries."""
_GATE, _USER = "use.lock", "user."
_held: dict[Path, FileLock] = {}
_hashed: set[Path] = set()
"""The entries whose contents this process has compared with their manifests."""
_touched: set[Path] = set()
"""The entries whose times this process has set: they are in use until it ends."""


@dataclass(frozen=True, order=True)
class Item:
    """An entry, or the folder of a run: when it was last used, in nanoseconds since 1970, and its size on disk."""

    used: int
    path: Path
    bytes: int

    @property
    def kind(self) -> str:
        return self.path.parent.name


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
            self._claim()
            with FileLock(self._lock(kind, key)):
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
        """Remove what was used longest ago until the rest fits the limit; return the removed folders.

        What is in use stays. What killed builds and removals left in the temporary folder goes as well.
        """
        self._added = 0
        for path in (self.root / TEMPORARY).glob("*.*.*"):
            left = _LEFT.fullmatch(path.name)
            if left and not _is_held(self._lock(left[1], left[2])):
                shutil.rmtree(path, ignore_errors=True)
        found = self.items()
        total = sum(item.bytes for item in found)
        removed = []
        for item in found:
            if total > self.limit and self._removed(item):
                removed.append(item.path)
                total -= item.bytes
        return removed

    def items(self) -> list[Item]:
        """Return every entry and every run, the one that was used longest ago first. Nothing else is ever removed."""
        found = []
        for path in filter(_is_ours, self.root.glob("*/*")):
            with suppress(FileNotFoundError):  # another process removes it meanwhile
                found.append(Item(path.lstat().st_mtime_ns, path, _size(path)))
        return sorted(found)

    def clear(self, kind: str = "") -> list[Item]:
        """Remove every entry of a kind, or of all kinds, that is not in use; return those that stay."""
        found = self.items()
        known = sorted({item.kind for item in found})
        if kind and kind not in known:
            raise ValueError(f"{self.root} has no {kind!r}; it has {', '.join(known) or 'nothing'}")
        return [item for item in found if kind in ("", item.kind) and not self._removed(item)]

    def table(self) -> list[str]:
        """Return a line for each kind: entries, size, oldest and newest use."""
        found = self.items()
        lines = [f"{'kind':<12} {'entries':>8} {'MB':>9}  {'oldest use':<16}  newest use"]
        for kind in [*sorted({item.kind for item in found}), "total"]:
            of = [item for item in found if kind in ("total", item.kind)]
            ends = [time.strftime("%Y-%m-%d %H:%M", time.localtime(item.used / 1e9)) for item in (of[:1] + of[-1:])]
            size = sum(item.bytes for item in of) / 1e6
            lines.append(f"{kind:<12} {len(of):>8} {size:>9.1f}  {'  '.join(ends)}".rstrip())
        return lines

    def _claim(self) -> None:
        """Say that this process uses the cache from now on, until it ends."""
        if self.root not in _held:
            (self.root / LOCKS).mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.root / LOCKS / f"{_USER}{os.getpid()}.{time.time_ns()}.lock")
            lock.acquire()
            _held[self.root] = lock

    def _touch(self, folder: Path) -> bool:
        """Set the time of an entry, so that no process removes it while this one runs. False where there is none."""
        if folder not in _touched and folder.is_dir():
            with suppress(OSError):  # a cache that can't be written to can't be trimmed either
                self._claim()
                with FileLock(self.root / LOCKS / _GATE):
                    os.utime(folder)
                _touched.add(folder)
        return os.path.lexists(folder)

    def _removed(self, item: Item) -> bool:
        """Remove an entry: out of sight in one step, then file by file."""
        temporary = self.root / TEMPORARY / f"{item.kind}.{item.path.name}.removed"
        temporary.parent.mkdir(exist_ok=True)
        with FileLock(self.root / LOCKS / _GATE):
            in_use = item.used >= self._since() or _is_held(self._lock(item.kind, item.path.name))
            if in_use or not item.path.exists() or item.path.stat().st_mtime_ns != item.used:
                return False
            item.path.rename(temporary)
        shutil.rmtree(temporary, ignore_errors=True)
        return True

    def _since(self) -> int:
        """Return when the first of the running processes that use this cache began."""
        starts = [time.time_ns()]
        for path in (self.root / LOCKS).glob(f"{_USER}*"):
            with suppress(FileNotFoundError):
                if _is_held(path):
                    starts.append(path.stat().st_mtime_ns)
        return min(starts)

    def _lock(self, kind: str, key: str) -> Path:
        return self.root / LOCKS / f"{kind}.{key}.lock"

    def _folder(self, kind: str, key: str) -> Path:
        if not _KIND.fullmatch(kind) or kind in OWN:
            raise ValueError(f"a cache kind is a lower-case word, and not {', '.join(OWN)}: {kind!r}")
        if not _KEY.fullmatch(key):
            raise ValueError(f"a cache key is a sha256 in 64 hexadecimal digits, not {key!r}")
        return self.root / kind / key

    def _fault(self, folder: Path, contents: bool = True) -> str | None:
        """Return the fault of an entry: empty for a sound one, None where there is none. Using it keeps it alive."""
        if not self._touch(folder):
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
                if contents and folder not in _hashed and sha256(path) != kept["files"][name]["sha256"]:
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
            manifest["files"] = {name: {"size": sizes[name], "sha256": sha256(files[name])} for name in sorted(files)}
            (new / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True), encoding="utf-8")
            folder.parent.mkdir(exist_ok=True)
            new.rename(folder)
        finally:
            _remove(new)
        _hashed.add(folder)
        self._added += sum(sizes.values())


def _is_held(path: Path) -> bool:
    """Return whether a living process holds a lock file. A lock that nobody holds is removed."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    path.unlink(missing_ok=True)
    lock.release()
    return False


def _is_ours(path: Path) -> bool:
    """Return whether this is the folder of a run, or an entry with a manifest that names it."""
    if path.is_symlink() or not path.is_dir():
        return False
    if path.parent.name == RUNS:
        return bool(_RUN.fullmatch(path.name))
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        made = json.loads((path / MANIFEST).read_bytes())
        return bool(_KEY.fullmatch(path.name)) and (made["kind"], made["key"]) == (path.parent.name, path.name)
    return False


def _size(path: Path) -> int:
    with suppress(OSError, ValueError, KeyError, TypeError):
        files = json.loads((path / MANIFEST).read_bytes())["files"]
        # Files that several entries share count once, a part in each.
        return sum(int(file["size"]) // (path / name).lstat().st_nlink for name, file in files.items())
    return sum(part.lstat().st_size for part in (path, *path.rglob("*")) if not part.is_dir())


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


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(FileNotFoundError):
            path.unlink()
