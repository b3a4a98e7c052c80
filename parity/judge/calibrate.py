"""Bounds from measured spread; `gates` says how one follows from the worst that was measured.

A decision whose every measurement is exactly the ideal keeps the ideal as its bound. A bound of which the worst takes
no more than half stays where it is, if it isn't looser than that; any other that would loosen does so only for a reason
that is given. The bounds of an output that were derived from more cases than were measured stay as they are, unless
one is broken.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from parity.base import files, toml
from parity.base.text import many
from parity.compare import metrics
from parity.judge import gates, headroom
from parity.judge.gates import Gate, GateError, Gates, Origin, Table, bound_from, gate
from parity.judge.measurements import CalibrationError, Measured

ENOUGH = 2
"""Multiple of the worst value up to which a bound set by hand counts as tight enough to be kept."""
FEWEST = 2
CASES = 5
"""Number of cases to measure an output on. Three times the worse of two says little of the spread."""
RATIO = 10.0
"""A bound with more than so many times the room that is taken is reported: what it was needed for has been mended."""


def calibrate(measured: Iterable[Measured], gates_path: Path, reason: str = "") -> list[str]:
    """Write gates with the bounds that the measurements suggest over the current ones, if there are any.

    measured: of each gate at least two values.
    reason: why bounds may loosen; without one they only tighten.

    Return a line for each gate that moved, and for each that should have moved and did not.
    """
    records = list(measured)
    current = gates.load(gates_path) if gates_path.exists() else Gates(())
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
    measured = group(records)
    if not measured:
        raise CalibrationError("nothing was measured: run the checks first")
    before = current.by_name()
    cases, known = _cases(records), _cases_of(current)
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
        lines.append(
            f"{len(few)} output{'s rest' if len(few) > 1 else ' rests'} on more cases than were measured, and "
            f"{'keep their' if len(few) > 1 else 'keeps its'} bounds: measure --cases all"
        )
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
    by_gate = group(measured)
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
            f"{headroom.number(worst)}; calibrated it would be {replace(one.bound, limit=suggested)}"
        )
    return lines


def group(records: Iterable[Measured]) -> dict[str, list[Measured]]:
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


def _cases_of(gates: Gates) -> Counter[Table]:
    """Return the number of cases that the bounds of each output were derived from."""
    found = Counter[Table]()
    for old in gates.gates:
        if isinstance(old.derived_from, Origin):
            found[old.table] = max(found[old.table], old.derived_from.cases)
    return found


def _move(old: Gate | None, new: Gate | None, measured: list[Measured], reason: str) -> tuple[Gate | None, str]:
    """Return the new state of one gate, and a line about it if there is something to say."""
    name, metric = measured[0].gate, metrics.find(measured[0].metric)
    worst = max((record.value for record in measured), key=metric.distance)
    said = f"worst {headroom.number(worst)}"
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
    worst, median = (float(headroom.number(value)) for value in found)
    origin = Origin(worst=worst, median=median, cases=len(cases), numerics=", ".join(numerics))
    bound = bound_from(metric, [worst])
    return None if bound is None else gate(first.table, metric, bound, origin)
