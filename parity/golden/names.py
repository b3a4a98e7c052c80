"""Names that become file names or keys: nothing in them leads out of a folder, on any file system."""

from __future__ import annotations

import re
from collections.abc import Iterable

_FILE = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


def file_name(kind: str, name: object) -> str:
    """Return the name of a system or a case. Lower case only, because some file systems take Hello for hello."""
    if not isinstance(name, str) or not _FILE.fullmatch(name):
        raise ValueError(f"{kind} {name!r} can't name a file: take up to 64 of a-z, 0-9, _ and -")
    return name


def key(kind: str, name: object) -> str:
    """Return the name of a stage or a tensor."""
    if not isinstance(name, str) or not _KEY.fullmatch(name):
        raise ValueError(f"{kind} {name!r} is not a usable name: take up to 128 of A-Z, a-z, 0-9, _, . and -")
    return name


def distinct(kind: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{kind} {name!r} is declared twice")
        seen.add(name)
