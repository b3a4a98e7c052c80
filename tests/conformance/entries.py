"""The two data files with exceptions: tests known to fail, and tests that need a wider half-precision bound."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

KNOWN_FILE = Path(__file__).with_name("known.toml")
BOUNDS_FILE = Path(__file__).with_name("bounds.toml")


@dataclass
class Entry:
    """An exception for the tests whose id matches: ``*`` stands for anything, all else for itself.

    A wider bound has a factor, or says the scale of the values inside the program where it exceeds the results'.
    """

    id: str
    reason: str
    factor: float = 0.0
    scale: float = 0.0
    matched: list[str] = field(default_factory=list)

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(".*".join(map(re.escape, self.id.split("*"))), re.DOTALL)

    @property
    def file(self) -> str:
        return self.id.partition("::")[0]

    def matches(self, test_id: str) -> bool:
        return self._pattern.fullmatch(test_id) is not None


def load(path: Path, table: str) -> list[Entry]:
    """The entries of one table of a data file, each with an id and a reason."""
    if not path.exists():
        return []
    entries = []
    for content in tomllib.loads(path.read_text()).get(table, []):
        factor, scale = float(content.get("factor", 0.0)), float(content.get("scale", 0.0))
        entry = Entry(content["id"], content["reason"].strip(), factor, scale)
        if not entry.reason:
            raise ValueError(f"{path}: the entry {entry.id!r} gives no reason")
        if table == "wider" and max(factor, scale) <= 0:
            raise ValueError(f"{path}: the entry {entry.id!r} gives neither factor nor scale")
        if "::" not in entry.id or "*" in entry.file:
            raise ValueError(f"{path}: the entry {entry.id!r} must name its test file: path/to/test_x.py::...")
        entries.append(entry)
    return entries


def match(entries: list[Entry], collected: list[str]) -> list[Entry]:
    """Notes on each entry the collected tests it matches; the entries of a collected file that match none."""
    files = {test_id.partition("::")[0] for test_id in collected}
    for entry in entries:
        entry.matched = [test_id for test_id in collected if entry.matches(test_id)] if entry.file in files else []
    return [entry for entry in entries if entry.file in files and not entry.matched]
