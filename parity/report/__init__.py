"""A run record as a page and as Markdown. Only this room writes reports."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from parity.base.files import write_atomically
from parity.bench import record as bench_record
from parity.record import run
from parity.record.run import Excerpt, RunRecord
from parity.report import html, markdown
from parity.report.evidence import Evidence


@dataclass(frozen=True)
class Written:
    page: Path
    markdown: Path
    record: Path


def write(record: RunRecord, folder: Path, evidence: Evidence, history: Iterable[Excerpt] = ()) -> Written:
    """Write report.html, report.md and last run.json, so that a complete run has its reports."""
    written = Written(*(folder / name for name in ("report.html", "report.md", run.RECORD)))
    folder.mkdir(parents=True, exist_ok=True)
    bench = bench_record.beside(folder)
    write_atomically(written.page, html.render(record, evidence, history, bench).encode())
    write_atomically(written.markdown, markdown.render(record, bench).encode())
    run.save(record, folder)
    return written
