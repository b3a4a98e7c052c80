"""The report as Markdown, for a pull request."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from parity.base.text import duration, many
from parity.bench.record import BenchRecord, headline, remarks, tables
from parity.record.run import RunRecord
from parity.report import summary
from parity.report.terminal import explain
from parity.verdict import share

SPECIAL = re.compile(r"([\\`*_{}\[\]|~])")
LONGEST = 60_000
"""Characters: a comment on a pull request may have some 65 000."""


def render(record: RunRecord, bench: BenchRecord | None = None) -> str:
    """Return the verdict, a table of stages, worst first, and each failure folded away."""
    symbol = "❌" if not record.passed else "⚠️" if record.partial else "✅"
    lines = [f"## {symbol} Parity {escape(summary.headline(record))}", ""]
    if record.partial:
        left = escape(summary.left_out(record) or "see below")
        lines += [f"> **A partial run**: this is not the full verdict. Left out: {left}.", ""]
    lines += [*_stages(record), ""]
    ends = [
        *(_bench(bench, record.id) if bench else ()),
        *_list("No verdict", [f"{id}: {why}" for id, why in summary.without_verdict(record).items()]),
        *_list("Notes", record.notes),
        *_list("Not run here", record.not_run_here),
        *_list("Skipped", [f"{skip.id}: {skip.reason}" for skip in record.skipped]),
        _footer(record),
        "",
    ]
    room = LONGEST - sum(len(line) + 1 for line in lines + ends)
    return "\n".join([*lines, *_failures(record, room), *ends])


def escape(words: str) -> str:
    """Escape foreign text, so that it makes no table cell, link, element or emphasis.

    A word joiner behind @ and # keeps it from mentioning anybody.
    """
    shown = "".join(char if char.isprintable() else " " for char in words)
    shown = SPECIAL.sub(r"\\\1", shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))
    return shown.replace("@", "@\u2060").replace("#", "\\#\u2060")


def _stages(record: RunRecord) -> Iterator[str]:
    yield "| | System | Stage | Checks | Exercised | Nearest to its bound | Used |"
    yield "|---|---|---|--:|---|---|--:|"
    for group in summary.stages(record):
        held = f"{len(group.verdicts) - len(group.failed)} of {len(group.verdicts) + group.lost}"
        without = f"{many(group.lost, 'check')} without a verdict; " if group.lost else ""
        texts = group.system, group.stage, held, summary.exercised(group), without + summary.nearest(group)
        used = summary.percent(share(group.closest[1])) if group.closest else ""
        yield f"| {'✓' if group.passed else '✗'} | {' | '.join(map(escape, texts))} | {used} |"
    if lost := summary.strays(record):
        yield f"| ✗ | | | | | {many(len(lost), 'error')} outside the checks | |"
    if not record.verdicts:
        yield "| ✗ | | | 0 | | nothing was judged | |"


def _failures(record: RunRecord, room: int) -> Iterator[str]:
    """Yield as many failures as there is room for; the rest is counted."""
    failed = summary.worst_first(record.failed)
    for index, verdict in enumerate(failed):
        words = explain(verdict)
        # A fence is longer than any run of backticks in its code block.
        fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", words))])
        block = [f"<details><summary>✗ {escape(summary.where(verdict.check))}</summary>", "", f"{fence}text"]
        block += [*words.split("\n"), fence, "", "</details>", ""]
        room -= sum(len(line) + 1 for line in block)
        if room < 0:
            yield from (f"**And {len(failed) - index} more failed checks: see the report.**", "")
            return
        yield from block


def _bench(bench: BenchRecord, run: str) -> Iterator[str]:
    yield from (f"**Bench**: {escape(headline(bench))}. {escape(summary.origin(bench, run))}", "")
    for system in bench.systems:
        yield from (f"### {escape(system.system)}", "")
        for rows in tables(system):
            head, *body = [f"| {' | '.join(map(escape, row))} |" for row in rows]
            yield from (head, f"|---|{'--:|' * (len(rows[0]) - 1)}", *body, "")
    if said := remarks(bench):
        yield from (*(f"- {escape(line)}" for line in said), "")


def _list(title: str, items: Sequence[str]) -> list[str]:
    return [f"**{title}**", "", *(f"- {escape(item)}" for item in items), ""] if items else []


def _footer(record: RunRecord) -> str:
    changed = " with uncommitted changes" if record.dirty else ""
    facts = [
        f"run {record.id}",
        f"commit {record.commit[:12]}{changed}",
        f"{record.runtime} {'+'.join(record.numerics)}",
        f"weights {record.weights}",
        f"cases {', '.join(record.cases)}",
        duration(record.seconds),
    ]
    return f"<sub>{escape(' · '.join(facts))}</sub>"
