"""Text for a terminal: made harmless, counted, and set in columns."""

from __future__ import annotations

from collections.abc import Sequence

Row = Sequence[str]


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
    widths = [max(len(plain(cell)) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  "
        + "  ".join(
            plain(cell).ljust(width) if index == 0 else plain(cell).rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
