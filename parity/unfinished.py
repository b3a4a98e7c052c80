"""Runs that are under way, and what killed ones left: verdicts without a record, half-written files."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from parity.session import PARTS, RECORD

REPORTS = ("report.html", "report.md", "junit.xml")


def claim(root: Path, id: str) -> FileLock:
    """Says that the run is under way, until its process ends or lets go. `root` is the `.parity` folder."""
    lock = _lock(root, id)
    lock.acquire()
    return lock


def let_go(lock: FileLock) -> None:
    lock.release()
    Path(lock.lock_file).unlink(missing_ok=True)


def sweep(root: Path) -> None:
    """Removes what runs left that have no record and no process any more."""
    for folder in sorted((root / "runs").glob("*/")):
        lock = _lock(root, folder.name)
        if (folder / RECORD).exists():
            continue
        with suppress(Timeout):
            lock.acquire(timeout=0)
            if not (folder / RECORD).exists():  # it may have come until the lock was had
                _clear(folder)
            let_go(lock)


def _clear(folder: Path) -> None:
    """What else lies there, such as the times of a bench, stays."""
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
    return FileLock(root / "locks" / f"run.{id}.lock")
