"""Prints the table of planted bugs: `python -m tests.faults`."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.form import MADE_UP
from tests.faults.tables import FAULTS
from tests.faults.vacuous import VACUOUS

HEADINGS = ("system", "stage", "bug", "planted in", "check", "from", "caught by", "blamed on")


def rows() -> Iterator[tuple[str, ...]]:
    for fault in FAULTS:
        at = fault.line or fault.at or (f"step {fault.step}" if fault.step else "")
        caught = ", ".join(fault.caught_by) or "nothing"
        yield fault.system, fault.stage, fault.name, fault.plant.where, fault.kind, fault.source, caught, at
    for number, (way, source, refused) in VACUOUS.items():
        yield "any", "", way, "project", f"way {number:02d}", source, ", ".join(refused), ""


def table() -> str:
    """Return the table, and a line that counts."""
    cells = [HEADINGS, *rows()]
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEADINGS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    bugs = {(fault.system, fault.stage, fault.name): fault.source for fault in FAULTS}
    made_up = sum(source == MADE_UP for source in bugs.values())
    counted = (
        f"{len(bugs)} bugs of {len({fault.system for fault in FAULTS})} systems in {len(FAULTS)} checks, "
        f"{made_up} of them made up; {len(VACUOUS)} vacuous passes"
    )
    return "\n".join([*lines, "", counted])


if __name__ == "__main__":
    print(table())
