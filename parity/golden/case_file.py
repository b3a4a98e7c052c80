"""The file of one case in git, with small tensors whole, sketches of the others, and each tensor once; and the way in
which a refresh brings such files into place.

A case that keeps every tensor whole is compressed: windows over a spectrogram, caches and queues are mostly copies of
rows that other tensors hold as well. xz packs 113 MB of a streaming diarizer's into 4.7 MB, and packing by shared rows
into 8.0 MB.

A refresh gathers its files in the folder `.refresh` until all of them are there. They then come into place one by one,
each by a rename, lock.json last. A refresh that is killed meanwhile leaves case files that are not the ones that the
lock names: these are reported as damaged, and the next refresh goes on.
"""

from __future__ import annotations

import hashlib
import lzma
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.numpy import load, save

from parity.base.files import read_plain, write_atomically
from parity.declarations import Golden
from parity.golden import lock
from parity.golden.errors import DamagedGolden, RefreshRefused
from parity.golden.lock import CaseEntry, Entry, File
from parity.golden.recording import arrays, sha256, sketch
from parity.plan.weights import foreign

SUFFIX, PACKED = ".safetensors", ".safetensors.xz"
MAX_BYTES = 30_000_000
"""Of all that git holds under golden/, so of any one file."""
STAGING = ".refresh"
_IGNORE = ".gitignore"
_HEADER = 1 << 20
_MEMORY = 80 << 20
"""Of the decoder. Preset 9 has a dictionary of 64 MiB."""


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


def pack(case: CaseEntry, golden: Golden, packed: bool = False) -> tuple[CaseEntry, bytes]:
    """Return the file's bytes, and the case's entry with their hash."""
    known = arrays(golden)
    tensors = {name: known[entry.sha256] for name, entry in case.kept().items()}
    data = save({name: array if name.startswith("whole/") else sketch(array) for name, array in tensors.items()})
    data = lzma.compress(data, preset=9) if packed else data
    file = File(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
    return case.model_copy(update={"file": file}), data


def read(path: Path, case: CaseEntry) -> bytes:
    """Return the file's bytes, if their number and hash are those of the lock."""
    try:
        data = read_plain(path, MAX_BYTES)
    except FileNotFoundError:
        fault = "is missing"
    except ValueError as error:
        fault = str(error)
    else:
        if hashlib.sha256(data).hexdigest() == case.file.sha256:
            return data
        fault = f"is not the file that the lock names ({len(data)} bytes for {case.file.bytes}, sha256 differs)"
    raise DamagedGolden(path, fault, f"git checkout -- {path}")


def unpack(path: Path, case: CaseEntry, data: bytes) -> dict[str, np.ndarray]:
    """Return what the file keeps, by the sha256 of the tensor: the tensor itself, or its sketch."""
    expected = case.kept()
    try:
        if path.name.endswith(PACKED):
            data = _decompressed(data, sum(entry.bytes for entry in expected.values()) + _HEADER)
        tensors = load(data)
        if off := sorted(set(tensors) ^ set(expected)):
            raise ValueError(f"has tensors too many or too few: {', '.join(off)}")
        for name, entry in expected.items():
            if fault := _fault(entry, tensors[name]):
                raise ValueError(f"{name} {fault}")
            tensors[name].flags.writeable = False
    except (lzma.LZMAError, SafetensorError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise DamagedGolden(path, f"can't be read: {error}", f"git checkout -- {path}") from error
    return {entry.sha256: tensors[name] for name, entry in expected.items()}


def _decompressed(data: bytes, most: int) -> bytes:
    """Return the decompressed bytes, as many as the lock says, since damaged ones could stand for any amount."""
    decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY)
    found = decoder.decompress(data, max_length=most)
    if not decoder.eof or decoder.unused_data:
        raise ValueError("it does not end where its tensors end")
    return found


def _fault(entry: Entry, kept: np.ndarray) -> str:
    if kept.dtype.name != entry.dtype:
        return f"is {kept.dtype.name} where the lock has {entry.dtype}"
    if entry.in_git:
        return "" if sha256(kept) == entry.sha256 else "is not the tensor that the lock names"
    samples = sketch(np.broadcast_to(np.zeros((), np.uint8), (entry.size,))).shape
    return "" if kept.shape == samples else f"has {list(kept.shape)} samples where {list(samples)} are expected"


def tracked(root: Path) -> Iterator[Path]:
    """Yield the files below golden/ that are meant for git.

    Truth of published weights is not: whoever has those can record it, and there would be too much.
    """
    for path in sorted(root.glob("*/**/*")):
        parts = path.relative_to(root).parts
        other = any(map(foreign, parts)) and path.suffix != ".toml"
        local = STAGING in parts or "__pycache__" in parts or other
        if not local and path.is_file():
            yield path
