"""Files that are read and written whole, and names that may become those of files."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

_FILE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_FULL = {errno.ENOSPC, errno.EDQUOT}
_FREE = "Free some disk space: `python -m parity cache` shows what can be cleared"
_NOTHING_LEFT = 1 << 20
_CLOSED = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR}


class StateError(OSError):
    """A place that can't be written to: the message says why, and what to do."""


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Raise a StateError where the disk is full, or where a place below `place` does not let us write."""
    try:
        yield
    except StateError:
        raise
    except OSError as error:
        where = error.filename or place
        inside = not error.filename or Path(os.fsdecode(error.filename)).is_relative_to(place)
        if error.errno in _FULL:
            mend = _FREE
        elif error.errno in _CLOSED and inside:
            mend = "Make it a folder that you may write to, or move the project to a disk where you may"
        else:
            raise
        raise StateError(error.errno, f"{where} can't be written: {error.strerror}. {mend}") from error


@contextmanager
def with_room(size: int, *places: Path) -> Iterator[None]:
    """Raise a StateError where a disk has less than `size` bytes left, or turns out to be full.

    Libraries that write by themselves say so in words of their own: "[MIL FileWriter]: Unknown error" is coremltools'.
    """
    _assert_room(size, places)
    try:
        yield
    except StateError:
        raise
    except Exception as error:
        if "FileWriter" in str(error):
            least = min(places, key=lambda place: shutil.disk_usage(place).free)
            raise _full(f"{least} can't be written: {error}") from error
        try:
            _assert_room(_NOTHING_LEFT, places)
        except StateError as full:
            raise full from error
        raise


def _assert_room(size: int, places: Iterable[Path]) -> None:
    for place in places:
        free = shutil.disk_usage(place).free
        if free < size:
            raise _full(f"{place} has {free / 1e6:.1f} MB left on its disk, and {size / 1e6:.1f} MB are needed")


def _full(said: str) -> StateError:
    return StateError(errno.ENOSPC, f"{said}. {_FREE}")


def write_atomically(path: Path, data: bytes) -> None:
    """Create or replace a file in one step: readers find the old or the new content, also after a kill."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def read_plain(path: Path, most: int) -> bytes:
    """Return the content of a file. A ValueError says why it can't be read: a link, a folder, more bytes than `most`.

    A file that does not exist is a FileNotFoundError.
    """
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise ValueError("is not a plain file")
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"has {path.stat().st_size} bytes where at most {most} are expected")
    return data


def sha256(path: Path) -> str:
    """Return the hash of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_name(kind: str, name: object) -> str:
    """Return the name of a system or a case. Lower case only, because some file systems take Hello for hello."""
    if not isinstance(name, str) or not _FILE_NAME.fullmatch(name):
        raise ValueError(f"{kind} {name!r} can't name a file: take up to 64 of a-z, 0-9, _ and -")
    return name


def key(kind: str, name: object) -> str:
    """Return the name of a stage or a tensor."""
    if not isinstance(name, str) or not _KEY.fullmatch(name):
        raise ValueError(f"{kind} {name!r} is not a usable name: take up to 128 of A-Z, a-z, 0-9, _, . and -")
    return name
