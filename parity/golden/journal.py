"""How the files of a refresh come into place together.

    .refresh/staged/    cases as they are recorded; worth nothing until all are there
    .refresh/decided/   the whole new set, lock included, on its way into place

Renaming the first to the second decides: before it the old set stands untouched, after it the new one is carried
through, by whoever comes next if this process is killed. lock.json goes last.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from parity.base.files import sync, write_atomically
from parity.golden import lock
from parity.golden.case_file import OWN_JOURNAL, SUFFIX
from parity.golden.errors import DamagedGolden, RefreshRefused

_PATIENCE = 60.0
"""Seconds for another process to move a few files."""


@dataclass(frozen=True)
class Journal:
    """Of one folder of goldens."""

    folder: Path

    @property
    def own(self) -> Path:
        return self.folder / OWN_JOURNAL

    @property
    def staging(self) -> Path:
        return self.own / "staged"

    @property
    def _decided(self) -> Path:
        return self.own / "decided"

    @contextmanager
    def alone(self, patience: float = 0.0) -> Iterator[None]:
        """While no other process refreshes this folder; what one that was killed had decided is done first."""
        self.own.mkdir(parents=True, exist_ok=True)
        held = FileLock(self.own / "lock")
        try:
            held.acquire(timeout=patience)
        except Timeout:
            raise RefreshRefused(self.folder, "another refresh is at work", "wait for it to end") from None
        try:
            self._finish()
            yield
        finally:
            held.release()

    def settle(self) -> None:
        """For readers: carries through what was decided."""
        if self._decided.is_dir():
            with self.alone(_PATIENCE):
                pass

    @property
    def waiting(self) -> bool:
        """Whether an interrupted or refused refresh left recordings for the next one."""
        return any(self.staging.glob(f"*{SUFFIX}"))

    def stage(self, name: str, data: bytes) -> None:
        write_atomically(self.staging / name, data)

    def staged(self, name: str) -> bytes | None:
        path = self.staging / name
        return path.read_bytes() if path.is_file() else None

    def decide(self, new: lock.Lock) -> None:
        """From the rename on, the staged files are the truth."""
        self.stage(lock.NAME, lock.write(new))
        sync(self.staging)
        self.staging.rename(self._decided)
        sync(self.own)
        self._finish()

    def discard(self) -> None:
        """What was staged and not decided."""
        shutil.rmtree(self.staging, ignore_errors=True)

    def _finish(self) -> None:
        """Safe to be repeated from any point of it."""
        if not self._decided.is_dir():
            return
        new = lock.read(self._decided / lock.NAME)
        if new is not None:
            self._move(new, lock.read(self.folder / lock.NAME))
        shutil.rmtree(self._decided)

    def _move(self, new: lock.Lock, old: lock.Lock | None) -> None:
        for name, case in new.cases.items():
            file, place = self._decided / f"{name}{SUFFIX}", self.folder / f"{name}{SUFFIX}"
            if _has(file, case.file_sha256):
                file.replace(place)
            elif not _has(place, case.file_sha256):
                raise DamagedGolden(
                    file,
                    "a refresh was decided, but this file is not the one that its lock names",
                    f"remove {self._decided} and refresh again",
                )
        for name in old.cases if old else ():
            if name not in new.cases:
                (self.folder / f"{name}{SUFFIX}").unlink(missing_ok=True)
        sync(self.folder)
        (self._decided / lock.NAME).replace(self.folder / lock.NAME)
        sync(self.folder)


def _has(path: Path, digest: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == digest
