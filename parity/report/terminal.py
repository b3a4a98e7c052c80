"""Output in the terminal: a table, then each failure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from parity.base.text import many, plain
from parity.record.run import RunRecord, first_fault
from parity.report import summary
from parity.report.summary import Group, by_output, gate_name
from parity.verdict import Blame, Finding, Verdict, comparison, number

FAULTS = {
    "graph": "the same op diverges in fp32 numerics too  →  the graph is wrong, not its precision",
    "constants": "its constants in half precision alone are too coarse  →  the graph is right",
    "precision": "the same op holds in fp32 numerics  →  its precision is too low, the graph is right",
    "weights": "the same graph with the module's own weights holds  →  its weights are wrong, or too coarse",
    "module": "the traceable module differs from upstream already  →  the rewrite is wrong, before any conversion",
}
HOLDING = 4


def table(record: RunRecord) -> str:
    """Return one line per system, each failure, checks without a verdict, what was not run, and the verdict."""
    lines = [*_systems(record), ""]
    for verdict in summary.worst_first(record.failed):
        lines += [explain(verdict), ""]
    lines += [f"no verdict: {plain(id)}: {plain(why)}" for id, why in summary.without_verdict(record).items()]
    lines += ["not run here:", *(f"  {plain(left)}" for left in record.not_run_here)] if record.not_run_here else []
    lines += [f"not judged: {plain(said)}" for said in record.not_judged]
    lines += [f"left out by the command line: {plain(asked)}"] if (asked := summary.left_out(record)) else []
    if reused := sum(verdict.reused for verdict in record.verdicts):
        of = many(len(record.verdicts), "check")
        lines.append(f"reused evidence: {reused} of {of}, nothing that made them changed")
    reasons = Counter(plain(skip.reason) for skip in record.skipped)
    lines += [f"skipped: {many(count, 'check')}: {reason}" for reason, count in sorted(reasons.items())]
    lines += [f"note: {plain(note)}" for note in record.notes]
    return "\n".join([*lines, plain(summary.headline(record))])


def explain(verdict: Verdict) -> str:
    """Return why a verdict failed: what broke beside what held, and the blame."""
    lines = [f"{'passed' if verdict.passed else 'FAILED'} {plain(summary.where(verdict.check))}"]
    if not verdict.findings:
        lines.append("  nothing was compared, and nothing may pass so")
    found = by_output(verdict.findings)
    outputs = by_output(verdict.failures) or found
    width = max((len(plain(output)) for output in outputs), default=0)
    lines += [f"  {plain(output):<{width}}   {_beside(found[output])}" for output in outputs]
    if verdict.blame:
        lines += list(_blame(verdict.blame, verdict.check.stage))
    return "\n".join(lines)


def _systems(record: RunRecord) -> Iterator[str]:
    by_system = Counter(stage.system for stage in summary.stages(record) if stage.stage != "chain")
    groups = summary.systems(record)
    width = max((len(plain(group.system)) for group in groups), default=0)
    wide = max((len(summary.exercised(group)) for group in groups), default=0)
    for group in groups:
        marks = "  ".join(f"{symbol} {count}" for symbol, count, _ in group.counts)
        yield (
            f"{plain(group.system):<{width}}  {many(by_system[group.system], 'stage'):>10}"
            f"  {many(group.artifacts, 'artifact'):>13}  {many(len(group.verdicts), 'check'):>11}"
            f"   {marks:<13}  {summary.exercised(group):<{wide}}{'  ' if wide else ''}{_remark(record, group)}"
        ).rstrip()
    if lost := summary.strays(record):
        yield f"{many(len(lost), 'error')} outside the checks"
    if not record.verdicts:
        yield "no verdict at all: nothing was judged"


def _remark(record: RunRecord, group: Group) -> str:
    """Return what a system's pass proves, or its worst fault."""
    if group.passed:
        return summary.proven(record, group.verdicts)
    if not group.failed:
        return f"{plain((*group.errors, *group.missing)[0].id)} gave no verdict"
    worst = summary.worst_first(group.failed)[0]
    return f"{plain(worst.check.stage)} {plain(worst.check.variant)}: {plain(first_fault(worst))}"


def _beside(findings: list[Finding]) -> str:
    broken = [_one(finding) for finding in summary.worst(findings) if not finding.passed]
    holding = sorted((one for one in findings if one.passed), key=lambda one: (one.value is None, one.gate))
    brief = [gate_name(one.gate) + (f" {number(one.value)}" if one.value is not None else "") for one in holding]
    more = [f"{len(brief) - HOLDING} more"] if len(brief) > HOLDING else []
    held = [f"holds: {', '.join(map(plain, [*brief[:HOLDING], *more]))}"] if brief else []
    return "    ".join([*broken, *held])


def _one(finding: Finding) -> str:
    told = not finding.message or (finding.value is not None and math.isfinite(finding.value))
    said = f"{gate_name(finding.gate)} {comparison(finding) if told else ''}".rstrip()
    return plain(f"{said}: {finding.message}" if finding.message else said)


def _blame(blame: Blame, stage: str) -> Iterator[str]:
    if blame.stage != stage:
        yield f"  Begins in stage {plain(blame.stage)}, output {plain(blame.output)}"
    if blame.value:
        op = f" ({plain(blame.op_type)}, op {blame.op_index} of {blame.op_count})" if blame.op_type else ""
        source = f", source: {plain(blame.source)}" if blame.source else ""
        yield f"  First divergence: `{plain(blame.value)}`{op}{source}"
    elif blame.source:
        yield f"  Source: {plain(blame.source)}"
    detail = f"{plain(blame.detail)}  →  " if blame.detail else ""
    if blame.looks_like or detail:
        yield f"    {detail}looks like {plain(blame.looks_like)}"
    if blame.fault in FAULTS:
        yield f"    {FAULTS[blame.fault]}"
