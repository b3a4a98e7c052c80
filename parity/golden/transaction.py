"""The folder `.refresh`, where a refresh gathers its files until all of them are there.

The files then come into place one by one, each by a rename, lock.json last. A refresh that is killed meanwhile leaves
case files that are not the ones that the lock names: these are reported as damaged, and the next refresh goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from parity.base.files import write_atomically
from parity.golden import lock
from parity.golden.case_file import STAGING
from parity.golden.errors import RefreshRefused

_IGNORE = ".gitignore"


class Transaction:
    """The files of a refresh of one folder of goldens, until they are in place."""

    def __init__(self, folder: Path) -> None:
        self.place, self.folder = folder, folder / STAGING
        self._lock = self.folder / "lock"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from refreshing this folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / _IGNORE).write_text("*\n")
        try:
            held = FileLock(self._lock).acquire(timeout=0.2)  # `busy` holds it for an instant
        except Timeout:
            raise RefreshRefused(self.place, "another refresh is running", "wait until it ends") from None
        with held:
            yield

    @property
    def busy(self) -> bool:
        """True while a process refreshes this folder."""
        if self._lock.exists():
            try:
                with FileLock(self._lock, timeout=0):
                    pass
            except Timeout:
                return True
            except OSError:
                pass  # a folder that can't be written to is not being refreshed
        return False

    def files(self) -> list[Path]:
        """Return what a refresh that was interrupted or refused left for the next one."""
        return [path for path in self.folder.glob("*") if path.name not in ("lock", _IGNORE)]

    def add(self, name: str, data: bytes) -> None:
        write_atomically(self.folder / name, data)

    def commit(self, names: Iterable[str], gone: Iterable[str], new: lock.Lock) -> None:
        """Move the named files into place, remove those that are gone, and replace the lock."""
        self.add(lock.NAME, lock.write(new))
        for name in names:
            if (self.folder / name).exists():  # else an interrupted refresh has moved it
                (self.folder / name).replace(self.place / name)
        for name in gone:
            (self.place / name).unlink(missing_ok=True)
        (self.folder / lock.NAME).replace(self.place / lock.NAME)
        self.clear()

    def clear(self) -> None:
        for path in self.files():
            path.unlink()
