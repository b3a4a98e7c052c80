"""Runs that are under way, and what killed ones left: verdicts without a record, half-written files."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from parity.record.run import PARTS, RECORD

LOCKS, PREFIX, SUFFIX = "locks", "run.", ".lock"
REPORTS = ("report.html", "report.md")


def claim(root: Path, id: str) -> FileLock:
    """Mark the run as under way, until its process ends or releases it. `root` is the `.parity` folder."""
    lock = _lock(root, id)
    lock.acquire()
    while not Path(lock.lock_file).exists():  # a sweep took it for a dead one's before it was held
        lock.release()
        lock.acquire()
    return lock


def let_go(lock: FileLock) -> None:
    lock.release()
    Path(lock.lock_file).unlink(missing_ok=True)


def sweep(root: Path) -> None:
    """Remove the leftovers of runs without a record or a living process."""
    ids = {path.name for path in (root / "runs").glob("*/") if not (path / RECORD).exists()}
    ids |= {path.name.removeprefix(PREFIX).removesuffix(SUFFIX) for path in (root / LOCKS).glob(f"{PREFIX}*{SUFFIX}")}
    for id in sorted(ids):
        lock, folder = _lock(root, id), root / "runs" / id
        with suppress(Timeout):
            lock.acquire(timeout=0)
            if folder.is_dir() and not (folder / RECORD).exists():  # which may have come until the lock was had
                _clear(folder)
            let_go(lock)


def _clear(folder: Path) -> None:
    """Remove a run's leftovers; other files, such as the times of a bench, stay."""
    reports = (folder / name for name in REPORTS)
    found = [path for path in (folder / PARTS, *reports, *folder.glob(".*.tmp")) if path.exists()]
    for path in found:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    if found and not any(folder.iterdir()):
        folder.rmdir()


def _lock(root: Path, id: str) -> FileLock:
    return FileLock(root / LOCKS / f"{PREFIX}{id}{SUFFIX}")
