"""The report as one HTML page that needs nothing else: no network, no other file. `page.html` has its elements."""

from __future__ import annotations

import base64
import hashlib
import math
import shlex
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from parity.base.text import duration, many
from parity.bench import record as bench
from parity.bench.record import BenchRecord
from parity.record.run import Excerpt, RunRecord
from parity.report import listening, speaking, summary
from parity.report.summary import Evidence, Group
from parity.report.terminal import FAULTS
from parity.verdict import Finding, Verdict, comparison, number, share

HERE = Path(__file__).parent
NEAR = 0.7
"""From this share of its bound on, a finding is shown as near to it."""


def render(
    record: RunRecord, evidence: Evidence, history: Iterable[Excerpt] = (), timed: BenchRecord | None = None
) -> str:
    """Return the page. `evidence` gives the folder of an evidence key, `history` the runs to compare with."""
    groups, trends = summary.stages(record), summary.trends(record, history)
    script = (HERE / "page.js").read_text(encoding="utf-8")
    sounds: dict[str, str] = {}
    return _page().render(
        record=record,
        groups=groups,
        failed=summary.worst_first(record.failed),
        lost=summary.without_verdict(record),
        strays=summary.strays(record),
        seal=_seal(record, groups),
        facts=_facts(record),
        spoken=speaking.gallery(record, evidence),
        heard=listening.gallery(record, evidence, sounds),
        sounds=sounds,
        trends=trends,
        runs=max(map(len, trends.values()), default=1),
        timed=timed,
        skipped=[f"{skip.id}: {skip.reason}" for skip in record.skipped],
        command=shlex.join(record.command),
        machine=", ".join(f"{name} {value}" for name, value in record.machine.items()),
        style=Markup((HERE / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
    )


@cache
def _page() -> Template:
    """Return the template of the page. It escapes whatever is not Markup, so that no text becomes an element."""
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    modules = {"summary": summary, "listening": listening, "speaking": speaking, "bench": bench}
    figures = {"comparison": comparison, "number": number, "share": share, "many": many}
    drawn = {"held": held, "beyond": beyond, "sparkline": sparkline}
    environment.globals.update(**modules, **figures, **drawn, NEAR=NEAR, FAULTS=FAULTS)
    return environment.get_template("page.html")


def _shown(value: object) -> object:
    """Return text without the characters that HTML does not allow."""
    words = str(value)
    if isinstance(value, Markup) or words.isprintable():
        return value
    return "".join(char if char.isprintable() or char in "\n\t" else "�" for char in words)


def _seal(record: RunRecord, groups: list[Group]) -> dict[str, str]:
    """Return the verdict of the run: kind, symbol and title, what holds, and what a pass proves."""
    failed, problems = sorted(group.stage for group in groups if not group.passed), record.problems()
    kind, symbol, title = "good", "✓", "Passed"
    if problems:
        kind, symbol, title = "bad", "✗", f"Failed: {many(len(problems), 'problem')}"
    elif record.partial:
        kind, symbol, title = "warn", "◐", "The part that ran holds"
    held = f"{len(record.verdicts) - len(record.failed)} of {many(len(record.verdicts), 'check')} hold"
    total = many(sum(group.stage != "chain" for group in groups), "stage")
    held += f", {', '.join(failed)} failed" if failed else f" in {total}"
    reach = f"{'A pass here would be a' if problems else 'Proven:'} {summary.proven(record)}."
    return {"kind": kind, "symbol": symbol, "title": title, "held": held, "reach": reach}


def _facts(record: RunRecord) -> dict[str, str]:
    reused = sum(verdict.reused for verdict in record.verdicts)
    return {
        "Started": f"{record.started:%d %b %Y, %H:%M %Z}".strip(),
        "Took": duration(record.seconds) + (f", {reused} checks from kept evidence" if reused else ""),
        "Commit": record.commit[:12] + (", with uncommitted changes" if record.dirty else ""),
        "Runtime": f"{record.runtime}, numerics {', '.join(record.numerics)}",
        "Weights": record.weights,
        "Cases": ", ".join(record.cases),
    }


def held(verdict: Verdict) -> str:
    """Return the findings that held on outputs that broke; they are often the clue."""
    broken = {finding.output for finding in verdict.failures}
    found = (one for one in verdict.findings if one.passed and one.output in broken and one.value is not None)
    return ", ".join(f"{one.output} {summary.gate_name(one.gate)} {number(one.value or 0.0)}" for one in found)


def beyond(finding: Finding) -> str:
    """Return how many times its bound a broken finding is."""
    used = share(finding)
    return f"{summary.percent(used)} its bound" if used is not None and 1 < used < math.inf else ""


def sparkline(shares: Sequence[float | None]) -> Markup:
    """Return the used shares of a bound over the runs, oldest left, on a logarithmic scale with a dashed line at 1."""
    known = {index: share for index, share in enumerate(shares) if share is not None}
    if len(known) < 2:
        return Markup("")
    width, height = 96, 22
    bounded = [min(max(share, 1e-4), 100.0) for share in known.values()]
    least, most = min(0.3, *bounded) * 0.8, max(1.0, *bounded) * 1.25

    def at(share: float) -> str:
        used = math.log(min(max(share, least), most) / least) / math.log(most / least)
        return f"{height - 3 - used * (height - 6):.1f}"

    step = (width - 8) / (len(shares) - 1)
    points = [f"{4 + index * step:.1f},{at(share)}" for index, share in known.items()]
    x, _, y = points[-1].partition(",")
    last = "over" if bounded[-1] > 1 else "under"
    return Markup(
        f'<svg class="spark" width="{width}" height="{height}" viewBox="0 0 {width} {height}" aria-hidden="true">'
        f'<line class="bound" x1="0" x2="{width}" y1="{at(1)}" y2="{at(1)}"/>'
        f'<polyline points="{" ".join(points)}"/><circle class="{last}" cx="{x}" cy="{y}" r="2.5"/></svg>'
    )
