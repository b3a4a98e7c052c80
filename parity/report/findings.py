"""Failures and findings of every stage: what broke and what held, the worst per gate with its trend, and all of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from parity.base.text import many
from parity.record.run import RunRecord
from parity.report.markup import NOTHING, Markup, head_row, join, mark, meter, percent, row, section, tag, tally
from parity.report.summary import Group, Trends, badness, gate_name, place, without_verdict, worst_first
from parity.report.terminal import FAULTS
from parity.verdict import Blame, Finding, Verdict, comparison, number, share


def failures(record: RunRecord) -> Markup:
    """Return a card for each failed verdict, worst first, and one for checks without a verdict."""
    cards = [_failed(verdict) for verdict in worst_first(record.failed)]
    if lost := without_verdict(record):
        rows = [tag("tr", tag("th", tag("code", id), class_="id"), tag("td", why)) for id, why in lost.items()]
        cards.append(_card("!", "No verdict", "a run that lacks one is not a pass", rows))
    if not record.verdicts:
        cards.append(tag("article", tag("h3", "Nothing was judged: the run has no verdict"), class_="card failure"))
    return section("Failures", *cards)


def _card(symbol: str, title: str, beside: str, rows: Sequence[Markup], *parts: Markup) -> Markup:
    name = tag("span", tag("span", symbol, class_="mark bad"), title)
    table = tag("table", *rows, class_="broken")
    return tag("article", tag("h3", name, tag("span", beside, class_="soft")), table, *parts, class_="card failure")


def _failed(verdict: Verdict) -> Markup:
    check = verdict.check
    rows = [_broken(finding) for finding in sorted(verdict.failures, key=badness, reverse=True)]
    if not verdict.findings:
        rows = [tag("tr", tag("td", "Nothing was compared, and nothing may pass so."))]
    blame = _blame(verdict.blame, check.stage) if verdict.blame else NOTHING
    return _card("✗", f"{check.system} · {check.stage}", place(check), rows, _held(verdict), blame)


def _broken(finding: Finding) -> Markup:
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
    words = ", ".join(f"{one.output} {gate_name(one.gate)} {number(one.value or 0.0)}" for one in held)
    return tag("p", f"Beside it holds: {words}", class_="soft") if held else NOTHING


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


def findings(groups: list[Group], trends: Trends) -> Markup:
    """Return one fold per stage, in the order of the overview."""
    runs = max((len(line) for line in trends.values()), default=1)
    note = "Per gate the value nearest to its bound, and the share of the bound that it uses up: 100 % is the bound."
    if runs > 1:
        note += f" The line is that share over the last {runs} runs, on a logarithmic scale; dashed is the bound."
    folds = [_stage(index, group, trends) for index, group in enumerate(groups)]
    return section("Every finding", *folds, note=note)


def anchor(index: int) -> str:
    return f"stage-{index}"


def _stage(index: int, group: Group, trends: Trends) -> Markup:
    summary = tag(
        "summary",
        tag("h3", mark(group.passed), f"{group.system} · {group.stage}"),
        tag("span", many(sum(len(verdict.findings) for verdict in group.verdicts), "finding"), class_="soft"),
        tag("span", tally(group), class_="push"),
    )
    head = tag("thead", head_row("Output", "Gate", "Value", "Bound", "Used", right=["Value"]))
    whole = tag(
        "details",
        tag("summary", f"All of them, check by check ({len(group.verdicts)})"),
        tag("div", tag("table", head, *map(_verdict, worst_first(group.verdicts)), class_="findings")),
        class_="all",
    )
    inside = tag("div", _gates(group, trends), whole, class_="inside")
    return tag("details", summary, inside, class_="card stage", id=anchor(index), open=not group.passed)


def _gates(group: Group, trends: Trends) -> Markup:
    """Return each gate that has a number, by its worst finding."""
    worst: dict[str, tuple[Verdict, Finding]] = {}
    for verdict in group.verdicts:
        for finding in (one for one in verdict.findings if one.value is not None):
            if finding.gate not in worst or badness(finding) > badness(worst[finding.gate][1]):
                worst[finding.gate] = (verdict, finding)
    kinds = {"Gate": None, "Worst": "n", "Bound": None, "Used": None, "Over the runs": None, "Where": "who"}
    head = tag("tr", *(tag("th", name, class_=kind, scope="col") for name, kind in kinds.items()))
    rows = [
        tag(
            "tr",
            tag("td", mark(finding.passed), gate_name(gate), class_="gate"),
            tag("td", number(finding.value or 0.0), class_="n worst"),
            tag("td", str(finding.bound or ""), class_="bound"),
            tag("td", meter(share(finding)), class_="used"),
            tag("td", Markup(sparkline(trends.get(f"{group.system} {group.stage} {gate}", ()))), class_="runs"),
            tag("td", f"{finding.output}, {place(verdict.check)}", class_="who soft"),
        )
        for gate, (verdict, finding) in sorted(worst.items(), key=lambda item: badness(item[1][1]), reverse=True)
    ]
    return tag("table", tag("thead", head), tag("tbody", *rows), class_="gates plain") if rows else NOTHING


def _verdict(verdict: Verdict) -> Markup:
    reused = tag("span", " evidence reused", class_="soft") if verdict.reused else ""
    head = tag(
        "tr", tag("th", mark(verdict.passed), place(verdict.check), reused, colspan=5, scope="rowgroup"), class_="head"
    )
    return tag("tbody", head, *_rows(verdict))


def _rows(verdict: Verdict) -> list[Markup]:
    """Return a row per finding; contracts that hold share one row per output."""
    rows: list[Markup] = []
    outputs: dict[str, tuple[list[Finding], list[Finding]]] = {}
    for finding in verdict.findings:
        outputs.setdefault(finding.output, ([], []))[finding.passed and finding.value is None].append(finding)
    for output, (told, held) in outputs.items():
        rows += map(_row, told)
        if held:
            words = ", ".join(one.message or gate_name(one.gate) for one in held)
            rows.append(tag("tr", tag("td", output), tag("td", words, colspan=4, class_="soft")))
    return rows


def _row(finding: Finding) -> Markup:
    value = number(finding.value) if finding.value is not None else ""
    said = f"{finding.bound or ''} {finding.message}".strip()
    name = join([NOTHING if finding.passed else mark(False), gate_name(finding.gate)])
    return row(finding.output, name, value, said, meter(share(finding)))


def sparkline(shares: Sequence[float | None], width: int = 96, height: int = 22) -> str:
    """Return the used shares of a bound over the runs, oldest left, on a logarithmic scale with a dashed line at 1."""
    known = {index: share for index, share in enumerate(shares) if share is not None}
    if len(known) < 2:
        return ""
    *_, last = bounded = [min(max(share, 1e-4), 100.0) for share in known.values()]
    least, most = min(0.3, *bounded) * 0.8, max(1.0, *bounded) * 1.25

    def at(share: float) -> float:
        inside = min(max(share, least), most)
        return height - 3 - math.log(inside / least) / math.log(most / least) * (height - 6)

    step = (width - 8) / (len(shares) - 1)
    points = [f"{4 + index * step:.1f},{at(share):.1f}" for index, share in known.items()]
    x, _, y = points[-1].partition(",")
    return (
        f'<svg class="spark" width="{width}" height="{height}" viewBox="0 0 {width} {height}" aria-hidden="true">'
        f'<line class="bound" x1="0" x2="{width}" y1="{at(1):.1f}" y2="{at(1):.1f}"/>'
        f'<polyline points="{" ".join(points)}"/>'
        f'<circle class="{"over" if last > 1 else "under"}" cx="{x}" cy="{y}" r="2.5"/></svg>'
    )
