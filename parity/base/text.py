"""Text for a terminal: made harmless, counted, set in columns; and a line of progress with an estimate."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, TextIO

from tqdm import tqdm

Row = Sequence[str]
EARLY = 0.2
"""Share of the steps before which there is no estimate: the long ones come first, and would promise hours."""
FORMAT = "{desc} [{n_fmt}/{total_fmt}] {elapsed}, about {remaining} left{postfix}"
EARLY_FORMAT = "{desc} [{n_fmt}/{total_fmt}] {elapsed}{postfix}"


def plain(text: str) -> str:
    """Replace everything that would steer the terminal; text of others may hold it."""
    return "".join(char if char.isprintable() else "�" for char in text.replace("\n", " "))


def many(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    if seconds < 59.5:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def aligned(rows: Sequence[Row]) -> list[str]:
    """Set rows in columns: the first to the left, the others to the right."""
    cells = [[plain(cell) for cell in row] for row in rows]
    first, *others = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  " + "  ".join([row[0].ljust(first), *map(str.rjust, row[1:], others)]).rstrip() for row in cells]


class Progress(tqdm):  # type: ignore[misc]
    """The progress of long work: a line that is rewritten in place on a terminal, a plain one now and then in a log.

    total: the number of steps.
    doing: the name of the work.
    every: seconds between two lines of a log.
    """

    monitor_interval = 0

    def __init__(self, total: int, doing: str, every: float = 20.0, stream: TextIO | None = None) -> None:
        stream = stream or sys.stderr
        live = stream.isatty()
        options: dict[str, Any] = {"mininterval": 0.1, "leave": False, "dynamic_ncols": True} if live else {}
        file: Any = stream if live else _Lines(stream)
        settings = {"mininterval": every, "miniters": 1, "bar_format": FORMAT, "disable": False, **options}
        super().__init__(total=total, desc=doing, file=file, **settings)

    @property
    def format_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = super().format_dict
        return found if self.n and self.n >= EARLY * self.total else {**found, "bar_format": EARLY_FORMAT}

    def begin(self, what: str) -> None:
        """Show what is being worked on now."""
        self.set_postfix_str(plain(what))

    def step(self, what: str = "") -> None:
        """Count one step as done."""
        self.set_postfix_str(plain(what), refresh=False)
        self.update()


class _Lines:
    """A stream in which each rewriting of a line is a line of its own."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> None:
        if line := text.strip("\r\n "):
            self.stream.write(f"{line}\n")

    def flush(self) -> None:
        self.stream.flush()
