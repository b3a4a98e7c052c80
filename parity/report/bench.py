"""Bench section of the page and of the Markdown. It says if the bench belongs to another run than the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from parity.base.text import Row
from parity.bench.record import BenchRecord
from parity.bench.table import headline, machine, remarks, tables
from parity.report.markup import Markup, join, listing, mark, section, tag


def as_section(bench: BenchRecord | None, run: str) -> Markup:
    if bench is None:
        return join([])
    parts: list[Markup] = [tag("p", mark(bench.passed), headline(bench))]
    for system in bench.systems:
        parts += [tag("h3", system.system), *map(_table, tables(system))]
    if said := remarks(bench):
        parts.append(listing(said))
    return section("Speed, size and load time", tag("div", *parts, class_="card block"), note=_origin(bench, run))


def as_lines(bench: BenchRecord | None, run: str, escape: Callable[[str], str]) -> list[str]:
    if bench is None:
        return []
    lines = [f"**Bench**: {escape(headline(bench))}. {escape(_origin(bench, run))}", ""]
    for system in bench.systems:
        lines += [f"### {escape(system.system)}", ""]
        for rows in tables(system):
            head, *body = [f"| {' | '.join(map(escape, row))} |" for row in rows]
            lines += [head, f"|---|{'--:|' * (len(rows[0]) - 1)}", *body, ""]
    said = [f"- {escape(line)}" for line in remarks(bench)]
    return [*lines, *said, ""] if said else lines


def _table(rows: Sequence[Row]) -> Markup:
    head, *body = [
        tag("tr", *(tag(kind, cell, class_="n" if index else None) for index, cell in enumerate(row)))
        for kind, row in zip(["th", *["td"] * (len(rows) - 1)], rows, strict=True)
    ]
    return tag("table", tag("thead", head), tag("tbody", *body), class_="plain")


def _origin(bench: BenchRecord, run: str) -> str:
    started = datetime.fromisoformat(bench.started)
    whose = "This run" if bench.id == run else f"Another run, {bench.id}, {started:%d %b %Y, %H:%M}"
    return f"{whose}: {machine(bench.machine)}."
