"""Text for a terminal: made harmless, counted, set in columns."""

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
    if not rows:
        return []
    cells = [[plain(cell) for cell in row] for row in rows]
    first, *others = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  " + "  ".join([row[0].ljust(first), *map(str.rjust, row[1:], others)]).rstrip() for row in cells]
