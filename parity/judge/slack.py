"""Bounds that are far looser than what is measured: what they were once needed for has been mended."""

from __future__ import annotations

import math
from collections.abc import Iterable

from parity.compare import metrics
from parity.judge import headroom
from parity.judge.calibrate import Measured, bound_from, group, worst_of
from parity.judge.gates import Gate, Gates

RATIO = 10.0


def slack(gates: Gates, measured: Iterable[Measured], ratio: float = RATIO) -> list[str]:
    """A line for each gate that leaves more than `ratio` times the room that the worst measured value takes.

    A value nearer to the ideal than the metric's floor counts as at the floor. Gates that were not measured are not
    judged; that none was is an error.
    """
    by_gate = group(measured)
    judged = [gate for gate in gates.gates if gate.name in by_gate]
    if not judged:
        raise ValueError("no measurement belongs to any gate: run the checks that the gates are for")
    lines = (_line(gate, [record.value for record in by_gate[gate.name]], ratio) for gate in judged)
    return [line for line in lines if line]


def _line(gate: Gate, values: list[float], ratio: float) -> str:
    metric = metrics.find(gate.metric)
    if not all(math.isfinite(value) for value in values):
        return ""
    worst = worst_of(metric, values)
    taken = max(metric.distance(worst), metric.floor)
    suggested = bound_from(metric, values)
    if suggested is None or gate.room <= ratio * taken:
        return ""
    tighter = Gate(*gate.table, gate.metric, gate.form, suggested, "")
    looseness = f"{gate.room / taken:.0f} times the room" if taken else "room where none"
    return (
        f"{gate.name}: {gate.text} leaves {looseness} that the worst of {len(values)} measured values takes, "
        f"{headroom.number(worst)}; calibrated it would be {tighter.text}"
    )
