"""Failures, check by check: the findings beside their bounds, and the blame."""

from __future__ import annotations

from parity.judge.headroom import comparison, number, share
from parity.record.run import RunRecord
from parity.report.markup import Markup, join, percent, section, tag
from parity.report.summary import badness, gate_name, place, without_verdict, worst_first
from parity.report.terminal import FAULTS
from parity.verdict import Blame, Finding, Verdict


def failures(record: RunRecord) -> Markup:
    """Return a card for each failed verdict, worst first, and one for checks without a verdict."""
    cards = [_card(verdict) for verdict in worst_first(record.failed)]
    lost = without_verdict(record)
    if lost:
        rows = [tag("tr", tag("th", tag("code", id), class_="id"), tag("td", why)) for id, why in lost.items()]
        head = tag(
            "h3",
            tag("span", tag("span", "!", class_="mark bad"), "No verdict"),
            tag("span", "a run that lacks one is not a pass", class_="soft"),
        )
        cards.append(tag("article", head, tag("table", *rows, class_="broken"), class_="card failure"))
    if not record.verdicts:
        cards.append(tag("article", tag("h3", "Nothing was judged: the run has no verdict"), class_="card failure"))
    return section("Failures", *cards) if cards else join([])


def _card(verdict: Verdict) -> Markup:
    check = verdict.check
    head = tag(
        "h3",
        tag("span", tag("span", "✗", class_="mark bad"), f"{check.system} · {check.stage}"),
        tag("span", place(check), class_="soft"),
    )
    broken = sorted(verdict.failures, key=badness, reverse=True)
    rows = [_row(finding) for finding in broken]
    if not verdict.findings:
        rows = [tag("tr", tag("td", "Nothing was compared, and nothing may pass so."))]
    parts = [head, tag("table", *rows, class_="broken"), _held(verdict)]
    if verdict.blame:
        parts.append(_blame(verdict.blame, check.stage))
    return tag("article", *parts, class_="card failure")


def _row(finding: Finding) -> Markup:
    over = share(finding)
    beyond = f"{percent(over)} its bound" if over is not None and 1 < over < float("inf") else ""
    said = "" if finding.value is None else comparison(finding)
    return tag(
        "tr",
        tag("th", finding.output, scope="row"),
        tag("td", gate_name(finding.gate), class_="value"),
        tag("td", join([tag("span", said, class_="bad value"), " " if said else "", finding.message])),
        tag("td", beyond, class_="soft"),
    )


def _held(verdict: Verdict) -> Markup:
    """Return the findings that held on outputs that broke; they are often the clue."""
    broken = {finding.output for finding in verdict.failures}
    held = [one for one in verdict.findings if one.passed and one.output in broken and one.value is not None]
    if not held:
        return join([])
    words = ", ".join(f"{one.output} {gate_name(one.gate)} {number(one.value or 0.0)}" for one in held)
    return tag("p", f"Beside it holds: {words}", class_="soft")


def _blame(blame: Blame, stage: str) -> Markup:
    lines: list[tuple[str, Markup]] = []
    if blame.looks_like:
        detail = [" ", tag("span", f"({blame.detail})", class_="soft")] if blame.detail else []
        lines.append(("Looks like", tag("dd", blame.looks_like, *detail, class_="looks")))
    if blame.stage != stage:
        lines.append(("Begins in stage", tag("dd", f"{blame.stage}, output {blame.output}")))
    if blame.value:
        op = f" {blame.op_type}, op {blame.op_index} of {blame.op_count}" if blame.op_type else ""
        lines.append(("First divergence", tag("dd", tag("code", blame.value), op)))
    if blame.source:
        lines.append(("Source", tag("dd", tag("code", blame.source))))
    if blame.fault in FAULTS:
        lines.append(("Fault", tag("dd", FAULTS[blame.fault])))
    return tag("dl", *(join([tag("dt", name), said]) for name, said in lines), class_="blame")
