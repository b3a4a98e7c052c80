"""Trends: the worst value of each gate over the stored runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from parity.record.run import Excerpt, RunRecord, excerpt

Trends = dict[str, list[float | None]]
"""By `SYSTEM STAGE GATE`: the largest share of the bound in each run, oldest first; None where there is none."""


def trends(record: RunRecord, history: Iterable[Excerpt]) -> Trends:
    """Return the runs that can be compared with this one, which comes last."""
    this = excerpt(record)
    runs = [*comparable(this, history), this]
    gates = dict.fromkeys(gate for run in runs for gate in run.worst)
    return {gate: [run.worst.get(gate) for run in runs] for gate in gates}


def comparable(this: Excerpt, history: Iterable[Excerpt]) -> Sequence[Excerpt]:
    """Return earlier runs of the same runtime and weights; others have other errors."""
    return [
        run
        for run in history
        if run.id != this.id and run.started <= this.started and _conditions(run) == _conditions(this)
    ]


def _conditions(run: Excerpt) -> tuple[str, tuple[str, ...], str]:
    return run.runtime, run.numerics, run.weights
