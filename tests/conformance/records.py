"""What is known about each test that ran: one line of JSON per test, appended as the test ends."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

PASSED, FAILED, XFAILED, NOT_EXECUTED = "passed", "failed", "xfailed", "not executed"


@dataclass
class Record:
    """The result of one test.

    ``factor`` is how much of the half-precision unit its largest error needed (see ``compare``).
    """

    id: str
    status: str
    predictions: int = 0
    compared: int = 0
    ops: list[str] = field(default_factory=list)
    seconds: float = 0.0
    reason: str = ""
    error: str = ""
    trace: str = ""
    factor: float | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def executed(self) -> bool:
        return self.status in (PASSED, FAILED)


def append(path: Path, record: Record) -> None:
    """Add a line in one write, so that several processes can share the file."""
    line = json.dumps(asdict(record), separators=(",", ":")) + "\n"
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


def mend(path: Path) -> None:
    """End a last line that a killed writer left open, so that the next record starts its own."""
    if path.exists() and path.stat().st_size and not path.read_bytes().endswith(b"\n"):
        with path.open("ab") as file:
            file.write(b"\n")


def read(path: Path) -> Iterator[Record]:
    """The records in the file; torn lines are passed over (their tests run again)."""
    known = {f.name for f in fields(Record)}
    if not path.exists():
        return
    for line in path.read_bytes().splitlines():
        try:
            content: dict[str, Any] = json.loads(line)
            yield Record(**{key: value for key, value in content.items() if key in known})
        except (ValueError, TypeError, AttributeError):
            continue


def latest(path: Path) -> dict[str, Record]:
    """The records by test id; a later record of the same test counts."""
    return {record.id: record for record in read(path)}
