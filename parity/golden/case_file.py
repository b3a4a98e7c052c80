"""The file of one case in git: small tensors whole, sketches of the others, each tensor once.

One that keeps every tensor whole is packed by its rows, see `parity.golden.rows`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from parity.golden import rows
from parity.golden.errors import DamagedGolden
from parity.golden.sketch import sha256, sketch
from parity.golden.tensors import CaseEntry, Entry

SUFFIX = ".safetensors"
MAX_BYTES = 25_000_000
"""Of all that git holds under golden/, so of any one file."""
OWN_JOURNAL = ".refresh"


def pack(case: CaseEntry, arrays: Mapping[str, np.ndarray], by_rows: bool = False) -> tuple[CaseEntry, bytes]:
    """The file's bytes, and the case with their hash. `arrays` are by sha256."""
    tensors = {
        name: np.asarray(arrays[entry.sha256] if entry.in_git else sketch(arrays[entry.sha256]), order="C")
        for name, entry in case.kept()
    }
    data = save(rows.pack(tensors) if by_rows else tensors)
    return replace(case, file_sha256=hashlib.sha256(data).hexdigest(), file_bytes=len(data)), data


def read(path: Path, case: CaseEntry) -> bytes:
    """The file's bytes, after size and hash were found to be the lock's."""
    fault = ""
    if path.is_symlink() or not path.is_file():
        fault = "is no plain file" if path.is_symlink() or path.exists() else "is missing"
    elif case.file_bytes > MAX_BYTES or path.stat().st_size != case.file_bytes:
        fault = f"has {path.stat().st_size} bytes where the lock has {case.file_bytes} (at most {MAX_BYTES})"
    else:
        with path.open("rb") as file:
            data = file.read(case.file_bytes + 1)
        if hashlib.sha256(data).hexdigest() == case.file_sha256:
            return data
        fault = "is not the file that the lock names (sha256 differs)"
    raise DamagedGolden(path, fault, f"git checkout -- {path}")


def unpack(path: Path, case: CaseEntry, data: bytes) -> dict[str, np.ndarray]:
    """What the file keeps, by the sha256 of the tensor: the tensor itself, or its sketch."""
    expected = dict(case.kept())
    try:
        tensors = rows.unpack(load(data), expected)
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise DamagedGolden(path, f"can't be read: {error}", f"git checkout -- {path}") from error
    if set(tensors) != set(expected):
        off = ", ".join(sorted(set(tensors) ^ set(expected)))
        raise DamagedGolden(path, f"has tensors too many or too few: {off}", f"git checkout -- {path}")
    for name, entry in expected.items():
        fault = _fault(entry, tensors[name])
        if fault:
            raise DamagedGolden(path, f"{name} {fault}", f"git checkout -- {path}")
        tensors[name].flags.writeable = False
    return {entry.sha256: tensors[name] for name, entry in expected.items()}


def _fault(entry: Entry, kept: np.ndarray) -> str:
    if kept.dtype.name != entry.dtype:
        return f"is {kept.dtype.name} where the lock has {entry.dtype}"
    if entry.in_git:
        return "" if sha256(kept) == entry.sha256 else "is not the tensor that the lock names"
    samples = sketch(np.broadcast_to(np.zeros((), np.uint8), (entry.size,))).shape
    return "" if kept.shape == samples else f"has {list(kept.shape)} samples where {list(samples)} are expected"


def size(root: Path) -> int:
    return sum(path.stat().st_size for path in tracked(root))


def tracked(root: Path) -> Iterator[Path]:
    """The files below golden/ that are meant for git: truth of other weights than the seeded ones is not, for whoever
    has those can record it, and there would be too much of it."""
    for path in sorted(root.glob("*/**/*")):
        parts = path.relative_to(root).parts
        other = any(part.startswith("weights-") for part in parts) and path.suffix != ".toml"
        local = OWN_JOURNAL in parts or "__pycache__" in parts or other
        if not local and path.is_file():
            yield path
