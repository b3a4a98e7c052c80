"""The use of a cache: which entries lie there, which are in use, and which are removed for want of room.

Using an entry sets its time. Each process that uses a cache holds a lock file from its first use on. So an entry is in
use if its time is later than the start of any running process.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

TEMPORARY, LOCKS, MANIFEST = "tmp", "locks", "manifest.json"
OWN = (TEMPORARY, LOCKS, "base", "gate", "runs")
"""Folders of `.parity` that hold no cache entries."""
_GATE, _USER = "use.lock", "user."
_held: dict[Path, FileLock] = {}
_touched: set[Path] = set()
"""The entries whose times this process has set: they are in use until it ends."""


@dataclass(frozen=True, order=True)
class Item:
    """An entry, or the folder of a run.

    Attributes:
        used: When it was last used, in nanoseconds since 1970.
        path: Its folder.
        bytes: Its size on disk.
    """

    used: int
    path: Path
    bytes: int

    @property
    def kind(self) -> str:
        return self.path.parent.name


def touch(root: Path, folder: Path) -> bool:
    """Set the time of an entry, so that no process removes it while this one runs. False where there is none."""
    if folder not in _touched and folder.is_dir():
        with suppress(OSError):  # a cache that can't be written to can't be trimmed either
            claim(root)
            with FileLock(root / LOCKS / _GATE):
                os.utime(folder)
            _touched.add(folder)
    return os.path.lexists(folder)


def claim(root: Path) -> None:
    """Say that this process uses the cache from now on, until it ends."""
    if root not in _held:
        (root / LOCKS).mkdir(parents=True, exist_ok=True)
        lock = FileLock(root / LOCKS / f"{_USER}{os.getpid()}.{time.time_ns()}.lock")
        lock.acquire()
        _held[root] = lock


def items(root: Path) -> list[Item]:
    """Return every entry and every run, the one that was used longest ago first."""
    kinds = (path for path in root.glob("*") if path.is_dir() and (path.name not in OWN or path.name == "runs"))
    found = []
    for path in (path for kind in kinds for path in kind.iterdir()):
        with suppress(FileNotFoundError):  # another process removes it meanwhile
            found.append(Item(path.lstat().st_mtime_ns, path, _size(path)))
    return sorted(found)


def trim(root: Path, most: float) -> list[Path]:
    """Remove what was used longest ago until the rest has at most `most` bytes. What is in use stays.

    What killed builds and removals left in the temporary folder goes as well.
    """
    for path in (root / TEMPORARY).glob("*.*.*"):
        kind, key, _ = path.name.split(".")
        if not _is_held(_lock(root, kind, key)):
            shutil.rmtree(path, ignore_errors=True)
    found = items(root)
    total = sum(item.bytes for item in found)
    removed = []
    for item in found:
        if total > most and _removed(root, item):
            removed.append(item.path)
            total -= item.bytes
    return removed


def clear(root: Path, kind: str = "") -> list[Item]:
    """Remove every entry of a kind, or of all kinds, that is not in use; return those that stay."""
    known = sorted({item.kind for item in items(root)})
    if kind and kind not in known:
        raise ValueError(f"{root} has no {kind!r}; it has {', '.join(known) or 'nothing'}")
    return [item for item in items(root) if kind in ("", item.kind) and not _removed(root, item)]


def table(root: Path) -> list[str]:
    """Return a line for each kind: entries, size, oldest and newest use."""
    found = items(root)
    lines = [f"{'kind':<12} {'entries':>8} {'MB':>9}  {'oldest use':<16}  newest use"]
    for kind in [*sorted({item.kind for item in found}), "total"]:
        of = [item for item in found if kind in ("total", item.kind)]
        ends = [time.strftime("%Y-%m-%d %H:%M", time.localtime(item.used / 1e9)) for item in (of[:1] + of[-1:])]
        size = sum(item.bytes for item in of) / 1e6
        lines.append(f"{kind:<12} {len(of):>8} {size:>9.1f}  {'  '.join(ends)}".rstrip())
    return lines


def _removed(root: Path, item: Item) -> bool:
    """Remove an entry: out of sight in one step, then file by file."""
    temporary = root / TEMPORARY / f"{item.kind}.{item.path.name}.removed"
    temporary.parent.mkdir(exist_ok=True)
    with FileLock(root / LOCKS / _GATE):
        in_use = item.used >= _since(root) or _is_held(_lock(root, item.kind, item.path.name))
        if in_use or not item.path.exists() or item.path.stat().st_mtime_ns != item.used:
            return False
        item.path.rename(temporary)
    shutil.rmtree(temporary, ignore_errors=True)
    return True


def _since(root: Path) -> int:
    """Return when the first of the running processes that use this cache began."""
    starts = [time.time_ns()]
    for path in (root / LOCKS).glob(f"{_USER}*"):
        with suppress(FileNotFoundError):
            if _is_held(path):
                starts.append(path.stat().st_mtime_ns)
    return min(starts)


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


def _lock(root: Path, kind: str, key: str) -> Path:
    return root / LOCKS / f"{kind}.{key}.lock"


def _size(path: Path) -> int:
    with suppress(OSError, ValueError, KeyError, TypeError):
        files = json.loads((path / MANIFEST).read_bytes())["files"]
        # Files that several entries share count once, a part in each.
        return sum(int(file["size"]) // (path / name).lstat().st_nlink for name, file in files.items())
    return sum(part.lstat().st_size for part in (path, *path.rglob("*")) if not part.is_dir())
