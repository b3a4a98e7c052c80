"""The report as one HTML page that needs nothing else: no network, no other file."""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
from collections.abc import Iterable
from pathlib import Path
from string import Template

from parity.base.text import duration, many
from parity.bench.record import BenchRecord, headline, remarks, tables
from parity.record.run import Excerpt, RunRecord
from parity.report.findings import anchor, failures, findings
from parity.report.listening import Clips, listening
from parity.report.markup import NOTHING, Markup, block, head_row, join, listing, mark, meter, section, tag, tally, text
from parity.report.speaking import speaking
from parity.report.summary import Evidence, Group, exercised, left_out, nearest, origin, proven, stages, strays, trends
from parity.verdict import share

HERE = Path(__file__).parent


def render(
    record: RunRecord, evidence: Evidence, history: Iterable[Excerpt] = (), bench: BenchRecord | None = None
) -> str:
    """Return the page. `evidence` gives the folder of an evidence key, `history` the runs to compare with."""
    groups, clips = stages(record), Clips()
    body = join(
        [
            _partial(record),
            _verdict(record, groups),
            _overview(record, groups),
            failures(record),
            speaking(record, evidence),
            listening(record, evidence, clips),
            findings(groups, trends(record, history)),
            _bench(bench, record.id) if bench else NOTHING,
            section("Notes", block(record.notes)),
            section(
                "Not run here",
                block(record.not_run_here),
                block(
                    [f"{skip.id}: {skip.reason}" for skip in record.skipped],
                    f"Skipped: {many(len(record.skipped), 'check')}",
                ),
                note="Nothing above says anything about these.",
            ),
            _how(record),
        ]
    )
    script = (HERE / "page.js").read_text(encoding="utf-8")
    return Template((HERE / "page.html").read_text(encoding="utf-8")).substitute(
        state="passed" if record.passed else "failed",
        title=text(f"{'✓' if record.passed else '✗'} Parity, run {record.id}"),
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        body=body,
        clips=json.dumps(clips.sounds),
        script=script,
        script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
    )


def _partial(record: RunRecord) -> Markup:
    if not record.partial:
        return NOTHING
    return tag(
        "div",
        "◐ A partial run: this is not the full verdict.",
        tag("span", f"Left out, and nothing is known about it: {left_out(record) or 'see below'}."),
        class_="banner",
        role="status",
    )


def _verdict(record: RunRecord, groups: list[Group]) -> Markup:
    failed, problems = [group for group in groups if not group.passed], record.problems()
    if problems:
        kind, symbol, title = "bad", "✗", f"Failed: {many(len(problems), 'problem')}"
    elif record.partial:
        kind, symbol, title = "warn", "◐", "The part that ran holds"
    else:
        kind, symbol, title = "good", "✓", "Passed"
    held = f"{len(record.verdicts) - len(record.failed)} of {many(len(record.verdicts), 'check')} hold"
    total = many(sum(group.stage != "chain" for group in groups), "stage")
    where = f", {', '.join(sorted(group.stage for group in failed))} failed" if failed else f" in {total}"
    reach = f"A pass here would be a {proven(record)}." if problems else f"Proven: {proven(record)}."
    return tag(
        "header",
        tag("p", f"Parity · run {record.id}", class_="eyebrow"),
        tag("h1", tag("span", symbol, class_=f"seal {kind}", aria_hidden="true"), title),
        tag("p", tag("strong", f"{held}{where}."), f" {reach}", class_="lede"),
        _facts(record),
    )


def _facts(record: RunRecord) -> Markup:
    reused = sum(verdict.reused for verdict in record.verdicts)
    facts = {
        "Started": f"{record.started:%d %b %Y, %H:%M %Z}".strip(),
        "Took": duration(record.seconds) + (f", {reused} checks from kept evidence" if reused else ""),
        "Commit": record.commit[:12] + (", with uncommitted changes" if record.dirty else ""),
        "Runtime": f"{record.runtime}, numerics {', '.join(record.numerics)}",
        "Weights": record.weights,
        "Cases": ", ".join(record.cases),
    }
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", said)) for name, said in facts.items()), class_="facts")


def _overview(record: RunRecord, groups: list[Group]) -> Markup:
    names = ("Stage", "Artifacts", "Checks", "Exercised", "Nearest to its bound", "Used")
    head = tag("thead", head_row(*names, right=["Used"]))
    rows = [_row(index, group) for index, group in enumerate(groups)]
    lost = strays(record)
    if lost or not groups:
        words = f"{many(len(lost), 'error')} outside the checks" if lost else "Nothing was judged"
        rows.append(tag("tr", tag("td", mark(False), words, colspan=6), class_="failed"))
    return section("Stages, worst first", tag("table", head, tag("tbody", *rows), class_="card overview"))


def _row(index: int, group: Group) -> Markup:
    shown = f"{many(group.lost, 'check')} gave no verdict" if group.lost and not group.failed else nearest(group)
    used = share(group.closest[1]) if group.closest and not (group.lost and not group.failed) else None
    name = tag("a", f"{group.system} · {group.stage}", href=f"#{anchor(index)}")
    return tag(
        "tr",
        tag("td", mark(group.passed), name),
        tag("td", many(group.artifacts, "artifact"), class_="artifacts soft"),
        tag("td", tally(group)),
        tag("td", exercised(group), class_="artifacts soft"),
        tag("td", shown, class_="where soft"),
        tag("td", meter(used), class_="n near"),
        class_=None if group.passed else "failed",
        data_stage=f"{group.system}/{group.stage}",
        data_state="passed" if group.passed else "failed",
    )


def _bench(bench: BenchRecord, run: str) -> Markup:
    parts: list[Markup] = [tag("p", mark(bench.passed), headline(bench))]
    for system in bench.systems:
        parts.append(tag("h3", system.system))
        for rows in tables(system):
            head, *body = (
                tag("tr", *(tag(kind, cell, class_="n" if column else None) for column, cell in enumerate(cells)))
                for kind, cells in zip(["th", *["td"] * (len(rows) - 1)], rows, strict=True)
            )
            parts.append(tag("table", tag("thead", head), tag("tbody", *body), class_="plain"))
    parts += [listing(said)] if (said := remarks(bench)) else []
    return section("Speed, size and load time", tag("div", *parts, class_="card block"), note=origin(bench, run))


def _how(record: RunRecord) -> Markup:
    machine = ", ".join(f"{name} {value}" for name, value in record.machine.items())
    commit = record.commit + (" (with uncommitted changes)" if record.dirty else "")
    rows = (("Command", tag("code", shlex.join(record.command))), ("Machine", machine), ("Commit", tag("code", commit)))
    lines = [tag("tr", tag("th", name, scope="row"), tag("td", said)) for name, said in rows]
    return section("How it was run", tag("table", *lines, class_="card plain"))
