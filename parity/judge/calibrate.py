"""Bounds from what a run measured; `gates` says how one follows from the worst of it.

A decision whose every measurement is exactly the ideal keeps the ideal as its bound. A bound of which the worst takes
no more than half stays where it is, if it isn't looser than that; any other that would loosen does so only for a reason
that is given. The bounds of an output that were derived from more cases than were measured stay as they are, unless
one is broken.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from parity.base import files, toml
from parity.base.cache import Cache
from parity.base.text import many
from parity.compare import evidence, metrics
from parity.declarations import System
from parity.judge import gates
from parity.judge.gates import Gate, GateError, Gates, Origin, Table, bound_from, gate
from parity.plan.checks import MODULE
from parity.verdict import Check, Verdict, number

ENOUGH = 2
"""Multiple of the worst value up to which a bound set by hand counts as tight enough to be kept."""
FEWEST = 2
CASES = 5
"""Number of cases to measure an output on. Three times the worse of two says little of the spread."""
RATIO = 10.0
"""A bound with more than so many times the room that is taken is reported: what it was needed for has been mended."""
FAR = 1e-3
"""Relative L2 of a module's output. Rewriting a stage for tracing takes a hundredth of that, unless it amplifies."""


class CalibrationError(ValueError):
    """Measurements from which no bound can be taken."""


@dataclass(frozen=True)
class Measured:
    """One metric of one output, as one check measured it. Outputs of one family share a name."""

    check: Check
    output: str
    metric: str
    value: float

    @property
    def table(self) -> Table:
        return self.check.stage, self.check.variant, self.output

    @property
    def gate(self) -> str:
        return ".".join((*self.table, self.metric))


def measurements(verdicts: Iterable[Verdict], system: System, cache: Cache) -> Iterator[Measured]:
    """Yield every number that the verdicts of a system rest on, from their evidence."""
    for verdict in verdicts:
        check = verdict.check
        if check.system != system.name or not verdict.evidence:
            continue
        folder = evidence.folder_of(cache, verdict.evidence)
        if folder is None:
            raise CalibrationError(f"the evidence of {check.id} is gone; run `pytest -m parity` again")
        for output, values in evidence.read(folder, verdict.evidence).values.items():
            family = system.family(check.stage, output)
            yield from (Measured(check, family, metric, value) for metric, value in values.items())


def far(measured: Iterable[Measured], system: System) -> list[str]:
    """Return a line for each stage whose module is far from upstream, unless it is an inner stage or has one.

    A bug of that size would pass in it; the seams of an inner stage would show it.
    """
    worst: dict[str, Measured] = {}
    seen = {name for stage in system.inner for name in (stage.name, stage.within)}
    for one in measured:
        stage, variant, _ = one.table
        if variant == MODULE and one.metric == "relative_l2" and stage not in seen:
            worst[stage] = max(worst.get(stage, one), one, key=lambda found: found.value)
    return [
        f"{system.name}/{stage}: the module itself is {number(one.value)} from upstream (relative L2 of {one.output}, "
        f"case {one.check.case}), so a bug of that size passes. Tap upstream inside the stage, and declare its parts: "
        f'System(…, inner=(Stage(…, within="{stage}"),)), see docs/gates.md'
        for stage, one in worst.items()
        if one.value > FAR
    ]


def calibrate(measured: Iterable[Measured], gates_path: Path, reason: str = "") -> list[str]:
    """Write gates with the bounds that the measurements suggest over the current ones, if there are any.

    measured: of each gate at least two values.
    reason: why bounds may loosen; without one they only tighten.

    Return a line for each gate that moved, and for each that should have moved and did not.
    """
    records, current = list(measured), gates.load(gates_path) if gates_path.exists() else Gates(())
    proposed, lines = propose(records, current, reason)
    if not proposed.gates:
        raise CalibrationError(f"{gates_path}: no gate can be made of these measurements: {'; '.join(lines)}")
    write(proposed, gates_path)
    untouched = set(current.by_name()) - {record.gate for record in records}
    if untouched:
        lines.append(f"not measured, and left as they are: {len(untouched)}")
    return lines or [f"no bound moved: {len(records)} measurements agree with them"]


def counted(records: list[Measured]) -> str:
    """Return a line about the number of cases, with a warning where outputs were measured on too few."""
    cases = _cases(records)
    fewest = min(map(len, cases.values()))
    names = len({record.check.case for record in records})
    line = f"{many(names, 'case')} measured"
    if fewest >= CASES:
        return line
    few = sum(len(found) < CASES for found in cases.values())
    return (
        f"warning: {line}; {few} of {len(cases)} outputs rest on fewer than {CASES} (the fewest: {fewest}), which say "
        "little of the spread. Add short cases, or measure --cases all"
    )


def propose(records: list[Measured], current: Gates, reason: str = "") -> tuple[Gates, list[str]]:
    """Return the current gates, moved to what was measured, new ones for all else, and a line for each that moved."""
    measured = _group(records)
    if not measured:
        raise CalibrationError("nothing was measured: run the checks first")
    before, cases, known = current.by_name(), _cases(records), Counter[Table]()
    for one in current.gates:
        if isinstance(one.derived_from, Origin):
            known[one.table] = max(known[one.table], one.derived_from.cases)
    few = [table for table, names in cases.items() if len(names) < known[table]]
    kept: list[Gate | None] = []
    lines = []
    for name in dict.fromkeys((*before, *measured)):
        old, found = before.get(name), measured.get(name, [])
        holds = old is None or all(old.check(record.value).passed for record in found)
        if not found or (holds and found[0].table in few):
            kept.append(old)
        elif not toml.retirement(current.retired, name):
            new, line = _move(old, _suggest(found), found, reason.strip())
            kept.append(new)
            lines += [line] if line else []
    if few:
        rest, keep = ("outputs rest", "keep their") if len(few) > 1 else ("output rests", "keeps its")
        said = f"{len(few)} {rest} on more cases than were measured, and {keep} bounds"
        lines.append(f"{said}: measure --cases all")
    return Gates(tuple(filter(None, kept)), current.retired), lines


def write(proposed: Gates, path: Path) -> None:
    """Replace the file atomically. The comment at its head is kept; one further down would be lost, and is an error."""
    head, below = toml.comments(toml.read(path, GateError)) if path.exists() else ("", ())
    if below:
        fault = f"the comment in line {below[0]} would be lost"
        raise CalibrationError(f"{path}: {fault}: make it a reason, or move it to the head of the file")
    text = gates.render(proposed)
    if gates.parse(text, str(path)).by_name() != proposed.by_name():
        raise CalibrationError(f"{path}: the proposed gates do not survive being written")
    files.write_atomically(path, (head + text).encode())


def slack(current: Gates, measured: Iterable[Measured]) -> list[str]:
    """Return a line for each gate with more than `RATIO` times the room that the worst measured value takes.

    A value nearer to the ideal than the metric's floor counts as at the floor. Gates that were not measured are not
    judged; that none was is an error.
    """
    by_gate = _group(measured)
    judged = [gate for gate in current.gates if gate.name in by_gate]
    if not judged:
        raise ValueError("no measurement belongs to any gate: run the checks that the gates are for")
    lines = []
    for one in judged:
        metric, values = metrics.find(one.metric), [record.value for record in by_gate[one.name]]
        worst = max(values, key=metric.distance)
        taken = max(metric.distance(worst), metric.floor)
        suggested = bound_from(metric, values) if all(map(math.isfinite, values)) else None
        if suggested is None or one.room <= RATIO * taken:
            continue
        looseness = f"{one.room / taken:.0f} times the room" if taken else "room where none"
        lines.append(
            f"{one.name}: {one.bound} leaves {looseness} that the worst of {len(values)} measured values takes, "
            f"{number(worst)}; calibrated it would be {replace(one.bound, limit=suggested)}"
        )
    return lines


def _group(records: Iterable[Measured]) -> dict[str, list[Measured]]:
    """Return the measurements of each gate, in the order of first appearance."""
    found = defaultdict(list)
    for record in records:
        found[record.gate].append(record)
    return dict(found)


def _cases(records: Iterable[Measured]) -> dict[Table, set[str]]:
    """Return the cases that each output was measured on."""
    found = defaultdict(set)
    for record in records:
        found[record.table].add(record.check.case)
    return found


def _move(old: Gate | None, new: Gate | None, measured: list[Measured], reason: str) -> tuple[Gate | None, str]:
    """Return the new state of one gate, and a line about it if there is something to say."""
    name, metric = measured[0].gate, metrics.find(measured[0].metric)
    worst = max((record.value for record in measured), key=metric.distance)
    said = f"worst {number(worst)}"
    if new is None:
        advice = "mend the stage, or judge it by another metric"
        return old, f"{name}: {said}, and a bound around that could hardly fail: {advice}"
    if old is None:
        return new, f"{name}: new, {new.bound} ({said})"
    if new.room < old.room:
        return replace(new, reason=old.reason), f"{name}: {old.bound} → {new.bound}, tightened ({said})"
    if new.room == old.room or ENOUGH * metric.distance(worst) <= old.room:
        return old, ""
    if not reason or reason in old.reason:
        held = "holds barely" if old.check(worst).passed else "is broken"
        wanted = "another reason than the one it has" if reason else "a reason"
        return old, f"{name}: {old.bound} {held} and stays; {said} suggests {new.bound}, which needs {wanted}"
    reasons = f"{old.reason}; {reason}" if old.reason else reason
    return replace(new, reason=reasons), f"{name}: {old.bound} → {new.bound}, loosened: {reason} ({said})"


def _suggest(measured: list[Measured]) -> Gate | None:
    for record in measured:
        if not math.isfinite(record.value):
            where = f"case {record.check.case}, {record.check.numerics}"
            raise CalibrationError(f"{record.gate} measured {record.value} ({where}): mend that before calibrating")
    first, metric, values = measured[0], metrics.find(measured[0].metric), [record.value for record in measured]
    cases = {record.check.case for record in measured}
    numerics = sorted({record.check.numerics for record in measured})
    if len({(record.check.case, record.check.numerics) for record in measured}) < FEWEST:
        raise CalibrationError(
            f"{first.gate} was measured on case {first.check.case} in {first.check.numerics} alone, and one value has "
            "no spread: measure more cases"
        )
    found = max(values, key=metric.distance), statistics.median(values)
    worst, median = (float(number(value)) for value in found)
    origin = Origin(worst=worst, median=median, cases=len(cases), numerics=", ".join(numerics))
    bound = bound_from(metric, [worst])
    return None if bound is None else gate(first.table, metric, bound, origin)
