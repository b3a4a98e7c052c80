"""Every finding of every stage: the worst per gate with its trend, and below it the whole list."""

from __future__ import annotations

from parity.base.text import many
from parity.judge.headroom import number, share
from parity.report.figures import sparkline
from parity.report.markup import Markup, join, mark, meter, row, section, tag, tally
from parity.report.summary import Group, Trends, badness, gate_name, place, worst_first
from parity.verdict import Finding, Verdict


def findings(groups: list[Group], trends: Trends) -> Markup:
    """Return one fold per stage, in the order of the overview."""
    runs = max((len(line) for line in trends.values()), default=1)
    note = "Per gate the value nearest to its bound, and the share of the bound that it uses up: 100 % is the bound."
    if runs > 1:
        note += f" The line is that share over the last {runs} runs, on a logarithmic scale; dashed is the bound."
    folds = [_stage(index, group, trends) for index, group in enumerate(groups)]
    return section("Every finding", *folds, note=note) if folds else join([])


def anchor(index: int) -> str:
    return f"stage-{index}"


def _stage(index: int, group: Group, trends: Trends) -> Markup:
    summary = tag(
        "summary",
        tag("h3", mark(group.passed), f"{group.system} · {group.stage}"),
        tag("span", many(sum(len(verdict.findings) for verdict in group.verdicts), "finding"), class_="soft"),
        tag("span", tally(group), class_="push"),
    )
    names = ("Output", "Gate", "Value", "Bound", "Used")
    head = tag("thead", tag("tr", *(tag("th", name, class_="n" if name == "Value" else None) for name in names)))
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
    return tag("table", tag("thead", head), tag("tbody", *rows), class_="gates plain") if rows else join([])


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
    gate = gate_name(finding.gate)
    name = gate if finding.passed else join([mark(False), gate])
    return row(finding.output, name, value, said, meter(share(finding)))
