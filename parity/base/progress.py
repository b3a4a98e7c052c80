"""A line of progress with an estimate of the time that is left."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from tqdm import tqdm

from parity.base.text import plain

EARLY = 0.2
"""Share of the steps before which there is no estimate: the long ones come first, and would promise hours."""
FORMAT = "{desc} [{n_fmt}/{total_fmt}] {elapsed}, about {remaining} left{postfix}"
EARLY_FORMAT = "{desc} [{n_fmt}/{total_fmt}] {elapsed}{postfix}"


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
