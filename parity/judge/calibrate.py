"""Bounds from measured spread; `derivation` says how one follows from the worst that was measured.

A decision whose every measurement is exactly the ideal keeps the ideal as its bound. A bound of which the worst takes
no more than half stays where it is, if it isn't looser than that; any other that would loosen does so only for a reason
that is given. The bounds of an output that were derived from more cases than were measured stay as they are, unless
one is broken.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from parity.base import files, toml
from parity.compare import metrics
from parity.judge import gates, headroom
from parity.judge.derivation import Origin, bound_from, worst_of
from parity.judge.gates import Gate, GateError, Gates, gate

ENOUGH = 2
"""Multiple of the worst value up to which a bound set by hand counts as tight enough to be kept."""
FEWEST = 2
CASES = 5
"""Number of cases to measure an output on. Three times the worse of two says little of the spread."""
RATIO = 10.0
"""A bound with more than so many times the room that is taken is reported: what it was needed for has been mended."""


class CalibrationError(ValueError):
    """Measurements from which no bound can be taken."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One metric of one output, as one check measured it."""

    stage: str
    variant: str
    output: str
    metric: str
    value: float
    case: str
    numerics: str

    @property
    def gate(self) -> str:
        return ".".join((self.stage, self.variant, self.output, self.metric))


@dataclass(frozen=True)
class Move:
    """New state of one gate, and a line about it if there is something to say."""

    gate: Gate | None
    line: str = ""


def calibrate(measured: Iterable[Measured], gates_path: Path, reason: str = "") -> list[str]:
    """Write gates with the bounds that the measurements suggest over the current ones, if there are any.

    measured: of each gate at least two values.
    reason: why bounds may loosen; without one they only tighten.

    Return a line for each gate that moved, and for each that should have moved and did not.
    """
    records = list(measured)
    current = gates.load(gates_path) if gates_path.exists() else None
    proposed, lines = propose(records, current, reason)
    if not proposed.gates:
        raise CalibrationError(f"{gates_path}: no gate can be made of these measurements: {'; '.join(lines)}")
    write(proposed, gates_path)
    untouched = set(current.by_name() if current else ()) - {record.gate for record in records}
    if untouched:
        lines.append(f"not measured, and left as they are: {len(untouched)}")
    return lines or [f"no bound moved: {len(records)} measurements agree with them"]


def counted(records: list[Measured]) -> str:
    """Return a line about the number of cases, with a warning where outputs were measured on too few."""
    cases: dict[tuple[str, str, str], set[str]] = {}
    for record in records:
        cases.setdefault((record.stage, record.variant, record.output), set()).add(record.case)
    fewest = min(map(len, cases.values()))
    names = len({record.case for record in records})
    line = f"{names} case{'s' * (names != 1)} measured"
    if fewest >= CASES:
        return line
    few = sum(len(found) < CASES for found in cases.values())
    return (
        f"warning: {line}; {few} of {len(cases)} outputs rest on fewer than {CASES} (the fewest: {fewest}), which say "
        "little of the spread. Add short cases, or measure --cases all"
    )


def propose(records: Iterable[Measured], current: Gates | None, reason: str = "") -> tuple[Gates, list[str]]:
    """Return the current gates, moved to what was measured, new ones for all else, and a line for each that moved."""
    measured = group(records)
    if not measured:
        raise CalibrationError("nothing was measured: run the checks first")
    before = current.by_name() if current else {}
    moves = []
    few = _on_fewer_cases(measured, before)
    for name in dict.fromkeys((*before, *measured)):
        if name not in measured:
            moves.append(Move(before[name]))
        elif _output(measured[name][0]) in few and _holds(before.get(name), measured[name]):
            moves.append(Move(before.get(name)))
        elif current is None or not current.retirement(name):
            moves.append(_move(before.get(name), _suggest(measured[name]), measured[name], reason.strip()))
    kept = tuple(move.gate for move in moves if move.gate)
    lines = [move.line for move in moves if move.line]
    if few:
        lines.append(
            f"{len(few)} output{'s rest' if len(few) > 1 else ' rests'} on more cases than were measured, and "
            f"{'keep their' if len(few) > 1 else 'keeps its'} bounds: measure --cases all"
        )
    return Gates(kept, current.retired if current else {}), lines


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


def slack(current: Gates, measured: Iterable[Measured], ratio: float = RATIO) -> list[str]:
    """Return a line for each gate with more than `ratio` times the room that the worst measured value takes.

    A value nearer to the ideal than the metric's floor counts as at the floor. Gates that were not measured are not
    judged; that none was is an error.
    """
    by_gate = group(measured)
    judged = [gate for gate in current.gates if gate.name in by_gate]
    if not judged:
        raise ValueError("no measurement belongs to any gate: run the checks that the gates are for")
    lines = (_slack(gate, [record.value for record in by_gate[gate.name]], ratio) for gate in judged)
    return [line for line in lines if line]


def group(records: Iterable[Measured]) -> dict[str, list[Measured]]:
    """Return the measurements of each gate, in the order of first appearance."""
    found: dict[str, list[Measured]] = {}
    for record in records:
        found.setdefault(record.gate, []).append(record)
    return found


def _on_fewer_cases(measured: dict[str, list[Measured]], before: dict[str, Gate]) -> set[tuple[str, str, str]]:
    """Return the outputs that were measured on fewer cases than their bounds were derived from."""
    known: dict[tuple[str, str, str], int] = {}
    for old in before.values():
        if isinstance(old.derived_from, Origin):
            known[old.table] = max(known.get(old.table, 0), old.derived_from.cases)
    now: dict[tuple[str, str, str], set[str]] = {}
    for records in measured.values():
        now.setdefault(_output(records[0]), set()).update(record.case for record in records)
    return {key for key, cases in now.items() if len(cases) < known.get(key, 0)}


def _output(record: Measured) -> tuple[str, str, str]:
    return record.stage, record.variant, record.output


def _holds(gate: Gate | None, records: list[Measured]) -> bool:
    return gate is None or all(gate.check(record.value).passed for record in records)


def _move(old: Gate | None, new: Gate | None, measured: list[Measured], reason: str) -> Move:
    name, metric = measured[0].gate, metrics.find(measured[0].metric)
    worst = worst_of(metric, [record.value for record in measured])
    said = f"worst {headroom.number(worst)}"
    if new is None:
        advice = "mend the stage, or judge it by another metric"
        return Move(old, f"{name}: {said}, and a bound around that could hardly fail: {advice}")
    if old is None:
        return Move(new, f"{name}: new, {new.bound} ({said})")
    if new.room < old.room:
        return Move(replace(new, reason=old.reason), f"{name}: {old.bound} → {new.bound}, tightened ({said})")
    if new.room == old.room or ENOUGH * metric.distance(worst) <= old.room:
        return Move(old)
    if not reason or reason in old.reason:
        held = "holds barely" if old.check(worst).passed else "is broken"
        wanted = "another reason than the one it has" if reason else "a reason"
        return Move(old, f"{name}: {old.bound} {held} and stays; {said} suggests {new.bound}, which needs {wanted}")
    reasons = f"{old.reason}; {reason}" if old.reason else reason
    return Move(replace(new, reason=reasons), f"{name}: {old.bound} → {new.bound}, loosened: {reason} ({said})")


def _slack(gate: Gate, values: list[float], ratio: float) -> str:
    metric = metrics.find(gate.metric)
    suggested = bound_from(metric, values) if all(map(math.isfinite, values)) else None
    if suggested is None:
        return ""
    worst = worst_of(metric, values)
    taken = max(metric.distance(worst), metric.floor)
    if gate.room <= ratio * taken:
        return ""
    looseness = f"{gate.room / taken:.0f} times the room" if taken else "room where none"
    return (
        f"{gate.name}: {gate.bound} leaves {looseness} that the worst of {len(values)} measured values takes, "
        f"{headroom.number(worst)}; calibrated it would be {replace(gate.bound, limit=suggested)}"
    )


def _suggest(measured: list[Measured]) -> Gate | None:
    first = measured[0]
    metric, values = metrics.find(first.metric), [record.value for record in measured]
    for record in measured:
        if not math.isfinite(record.value):
            where = f"case {record.case}, {record.numerics}"
            raise CalibrationError(f"{record.gate} measured {record.value} ({where}): mend that before calibrating")
    if len({(record.case, record.numerics) for record in measured}) < FEWEST:
        raise CalibrationError(
            f"{first.gate} was measured on case {first.case} in {first.numerics} alone, and one value has no spread: "
            "measure more cases"
        )
    cases = len({record.case for record in measured})
    origin = Origin.of(metric, values, cases, ", ".join(sorted({record.numerics for record in measured})))
    bound = bound_from(metric, [origin.worst])
    if bound is None:
        return None
    return gate((first.stage, first.variant, first.output), metric, bound, origin)
