"""The report of the gate: Markdown for a pull request, JSON, and a page of the run; pytest writes junit.xml."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from parity.base.cache import Cache
from parity.base.files import write_atomically
from parity.base.paths import at
from parity.base.text import many
from parity.compare.evidence import KIND
from parity.gate.affected import Affected, count
from parity.gate.gate import Outcome, junit
from parity.record import run
from parity.record.run import Errored, RunRecord
from parity.report import html, markdown
from parity.report.kept import Evidence
from parity.report.markdown import LONGEST, escape

SCHEMA = 1
MOST = 25
"""Lines of one list in the Markdown; the JSON has all."""


@dataclass(frozen=True)
class Written:
    markdown: Path
    junit: Path
    json: Path
    page: Path

    @staticmethod
    def below(root: Path) -> Written:
        folder = at(root).state_folder / "gate"
        return Written(folder / "gate.md", junit(root), folder / "gate.json", folder / "report.html")

    def remove(self) -> None:
        """Remove the reports of an earlier gate, so that they are not taken for this one's."""
        for path in (self.markdown, self.junit, self.json, self.page):
            path.unlink(missing_ok=True)


def write(outcome: Outcome, root: Path, evidence: Evidence | None = None) -> Written:
    """Write the reports below `root`. `evidence` gives the folder of an evidence key, by default the cache's."""
    written, judged = Written.below(root), _with_problems(outcome)
    page = html.render(judged, evidence or _kept(root), run.history(at(root).state_folder))
    write_atomically(written.page, page.encode())
    write_atomically(written.json, (json.dumps(as_json(outcome), indent=1, ensure_ascii=False) + "\n").encode())
    write_atomically(written.markdown, render(outcome).encode())
    return written


def _kept(root: Path) -> Evidence:
    cache = Cache.of(at(root))
    return lambda key: cache.find(KIND, key)


def headline(outcome: Outcome) -> str:
    touched, checks = count(outcome.affected)
    reach = f"{touched} of {many(checks, 'check')} affected by {many(len(outcome.files), 'changed file')}"
    if outcome.passed:
        return f"PASSED: {reach}, and all {checks} hold"
    failed = len(outcome.problems) + (len(outcome.record.problems()) if outcome.record else 0)
    return f"NOT PASSED: {many(failed, 'problem')}; {reach}"


def as_json(outcome: Outcome) -> dict[str, object]:
    record = outcome.record
    return {
        "schema": SCHEMA,
        "passed": outcome.passed,
        "base": asdict(outcome.base),
        "commit": outcome.commit,
        "run": record.id if record else None,
        "files": list(outcome.files),
        "affected": [asdict(row) for row in outcome.affected],
        "loosenings": [asdict(one) for one in outcome.loosenings],
        "retired": [asdict(one) for one in outcome.retired],
        "problems": [problem.line() for problem in outcome.problems],
        "run_problems": record.problems() if record else [],
        "notes": list(outcome.notes),
    }


def render(outcome: Outcome) -> str:
    """Return the verdict, its problems, what the change affects and why, then the run."""
    base = outcome.base
    lines = [f"# {'✅' if outcome.passed else '❌'} Gate {escape(headline(outcome))}", ""]
    lines += [escape(f"Against {base.name} at {base.commit[:12]}, HEAD is {outcome.commit[:12]}."), ""]
    lines += _list("Problems", [problem.line() for problem in outcome.problems])
    lines += ["### What the change affects", "", *_affected(outcome.affected), ""]
    lines += _list("Bounds that loosened", [one.line() for one in outcome.loosenings])
    lines += _list("Checks that went", [one.line() for one in outcome.retired])
    lines += _list("Notes", outcome.notes)
    top = "\n".join(lines)
    return top + "\n" + _fitting(markdown.render(outcome.record), LONGEST - len(top)) if outcome.record else top


def _affected(rows: tuple[Affected, ...]) -> Iterator[str]:
    if not rows:
        yield "It can't be told, so nothing is known to be unchanged."
        return
    yield from ("| System | Stage | Affected | Why |", "|---|---|--:|---|")
    for row in rows:
        told = f"{len(row.affected)} of {row.checks}" if row.affected else "unchanged"
        yield f"| {escape(row.system)} | {escape(row.stage)} | {told} | {escape(row.reasons())} |"


def _list(title: str, items: list[str] | tuple[str, ...]) -> list[str]:
    if not items:
        return []
    more = [f"- and {len(items) - MOST} more: see gate.json"] if len(items) > MOST else []
    return [f"### {title}", "", *(f"- {escape(item)}" for item in items[:MOST]), *more, ""]


def _fitting(words: str, room: int) -> str:
    """Return the run's own report, cut between two lines if a comment could not hold it; the cut is marked."""
    if len(words) <= room:
        return words
    cut = words[: max(room - 80, 0)].rpartition("\n</details>\n")
    return f"{cut[0]}{cut[1]}\n**And more failed checks: see the report.**\n"


def _with_problems(outcome: Outcome) -> RunRecord:
    """Return the run with the gate's problems, because the page must not be greener than the gate."""
    record = outcome.record or _no_run(outcome)
    found = tuple(Errored(f"gate: {problem.where}", problem.what) for problem in outcome.problems)
    return replace(record, errors=(*record.errors, *found), notes=(*record.notes, *outcome.notes))


def _no_run(outcome: Outcome) -> RunRecord:
    now = datetime.now(UTC)
    machine: dict[str, str | int] = {"system": platform.system(), "python": platform.python_version()}
    return RunRecord(
        id="no-record",
        started=now.replace(microsecond=0),
        seconds=0.0,
        commit=outcome.commit,
        dirty=bool(outcome.files),
        command=("python", "-m", "parity", "gate", "--base", outcome.base.name),
        runtime="none",
        numerics=(),
        weights="unknown",
        cases=(),
        partial=False,
        machine=machine,
        expected=(),
        verdicts=(),
    )
