"""The report of the gate: Markdown for a pull request, JSON, and a page of the run; pytest writes junit.xml."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

from parity.base.cache import Cache
from parity.base.files import write_atomically
from parity.base.paths import at
from parity.base.text import many
from parity.compare.evidence import folder_of
from parity.gate.gate import Outcome, junit
from parity.record import run
from parity.record.run import Errored, RunRecord
from parity.report import add_to_junit, html, markdown
from parity.report.markdown import LONGEST, escape
from parity.report.summary import Evidence

SCHEMA = 1
MOST = 25
"""Lines of one list in the Markdown; the JSON has all."""


class Written(NamedTuple):
    markdown: Path
    junit: Path
    json: Path
    page: Path

    @staticmethod
    def below(root: Path) -> Written:
        folder = at(root).state_folder / "gate"
        return Written(folder / "gate.md", junit(root), folder / "gate.json", folder / "report.html")

    def remove(self) -> None:
        """Remove what an earlier gate said, so that it is never taken for what this one says."""
        for path in self:
            path.unlink(missing_ok=True)


def write(outcome: Outcome, root: Path, evidence: Evidence | None = None) -> Written:
    """Write the reports below `root`. `evidence` gives the folder of an evidence key; by default that of the cache."""
    written = Written.below(root)
    write_atomically(written.page, _page(outcome, root, evidence))
    # Names of files that are not UTF-8 have surrogates, which JSON reads as escapes.
    said = json.dumps(as_json(outcome), indent=1, ensure_ascii=False) + "\n"
    write_atomically(written.json, said.encode(errors="backslashreplace"))
    write_atomically(written.markdown, render(outcome).encode())
    add_to_junit(written.junit, "gate", [problem.line() for problem in outcome.problems])
    return written


def _page(outcome: Outcome, root: Path, evidence: Evidence | None) -> bytes:
    """Return the page of the run: its own, unless the gate has something to add to it."""
    state, judged = at(root).state_folder, _with_problems(outcome)
    own = run.folder_of(state, judged.id) / "report.html"
    if judged == outcome.record and own.exists():
        return own.read_bytes()
    kept = evidence or partial(folder_of, Cache.of(at(root)))
    return html.render(judged, kept, run.history(state)).encode()


def headline(outcome: Outcome) -> str:
    """Return the result in one line."""
    checks, affected = sum(row.checks for row in outcome.rows), sum(row.affected for row in outcome.rows)
    reach = f"{affected} of {many(checks, 'check')} {_affected(outcome)}, {many(len(outcome.files), 'file')} changed"
    if outcome.passed:
        return f"PASSED: {reach}, and all {checks} hold"
    failed = len(outcome.problems) + (len(outcome.record.problems()) if outcome.record else 0)
    return f"NOT PASSED: {many(failed, 'problem')}; {reach}"


def _affected(outcome: Outcome) -> str:
    return "affected" if outcome.compared else "measured anew"


def as_json(outcome: Outcome) -> dict[str, object]:
    record = outcome.record
    return {
        "schema": SCHEMA,
        "passed": outcome.passed,
        "base": asdict(outcome.base),
        "commit": outcome.commit,
        "run": record.id if record else None,
        "files": list(outcome.files),
        "affected": [asdict(row) for row in outcome.rows],
        "compared": outcome.compared,
        "loosenings": [asdict(one) for one in outcome.loosenings],
        "problems": [problem.line() for problem in outcome.problems],
        "run_problems": record.problems() if record else [],
        "notes": list(outcome.notes),
    }


def render(outcome: Outcome) -> str:
    """Return the Markdown: the verdict, what stands in its way, what the change affects, then the run."""
    base = outcome.base
    lines = [f"# {'✅' if outcome.passed else '❌'} Gate {escape(headline(outcome))}", ""]
    lines += [escape(f"Against {base.name} at {base.commit[:12]}, HEAD is {outcome.commit[:12]}."), ""]
    lines += _list("Problems", [problem.line() for problem in outcome.problems])
    lines += ["### What the change affects", "", *_table(outcome), ""]
    lines += _list("Changed files", outcome.files)
    lines += _list("What became easier to pass", [one.line() for one in outcome.loosenings])
    lines += _list("Notes", outcome.notes)
    top = "\n".join(lines)
    return top + "\n" + _fitting(markdown.render(outcome.record), LONGEST - len(top)) if outcome.record else top


def _table(outcome: Outcome) -> Iterator[str]:
    if not outcome.rows:
        yield "No check was made, so nothing is known to be unchanged."
        return
    against = f"the evidence of run {outcome.compared} at the base" if outcome.compared else "what was measured before"
    yield from (f"Compared with {escape(against)}.", "", f"| System | Stage | {_affected(outcome)} |", "|---|---|--:|")
    for row in outcome.rows:
        told = f"{row.affected} of {row.checks}" if row.affected else "unchanged"
        yield f"| {escape(row.system)} | {escape(row.stage)} | {told} |"


def _list(title: str, items: list[str] | tuple[str, ...]) -> list[str]:
    if not items:
        return []
    more = [f"- and {len(items) - MOST} more: see gate.json"] if len(items) > MOST else []
    return [f"### {title}", "", *(f"- {escape(item)}" for item in items[:MOST]), *more, ""]


def _fitting(words: str, room: int) -> str:
    """Return the run's own report, cut between two lines where a comment could not hold it, and say so."""
    if len(words) <= room:
        return words
    cut = words[: max(room - 80, 0)].rpartition("\n</details>\n")
    return f"{cut[0]}{cut[1]}\n**And more failed checks: see the report.**\n"


def _with_problems(outcome: Outcome) -> RunRecord:
    """Return the run, failed by what the gate found beside it: the page must not be greener than the gate."""
    record = outcome.record or _no_run(outcome)
    found = tuple(Errored(f"gate: {problem.where}", problem.what) for problem in outcome.problems)
    return replace(record, errors=(*record.errors, *found), notes=(*record.notes, *outcome.notes))


def _no_run(outcome: Outcome) -> RunRecord:
    return RunRecord(
        id="no-record",
        started=datetime.now(UTC).replace(microsecond=0),
        seconds=0.0,
        commit=outcome.commit,
        dirty=bool(outcome.files),
        command=("python", "-m", "parity", "gate", "--base", outcome.base.name),
        runtime="none",
        numerics=(),
        weights="unknown",
        cases=(),
        partial=False,
        machine=run.machine(),
        expected=(),
        verdicts=(),
    )
