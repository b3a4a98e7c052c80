"""Trends: the worst value of each gate over the stored runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from parity.judge.headroom import share
from parity.record.run import RunRecord

Trends = dict[tuple[str, str, str], list[float | None]]
"""By system, stage and gate: the largest share of the bound in each run, oldest first; None where there is none."""


def trends(record: RunRecord, history: Iterable[RunRecord]) -> Trends:
    """Return the runs that can be compared with this one, which comes last."""
    runs = [*comparable(record, history), record]
    worst: Trends = {}
    for place, run in enumerate(runs):
        for verdict in run.verdicts:
            for finding in verdict.findings:
                used = share(finding)
                if used is None:
                    continue
                line = worst.setdefault((verdict.check.system, verdict.check.stage, finding.gate), [None] * len(runs))
                line[place] = max(used, line[place] or 0.0)
    return worst


def comparable(record: RunRecord, history: Iterable[RunRecord]) -> Sequence[RunRecord]:
    """Return earlier runs of the same runtime and weights; others have other errors."""
    return [
        run
        for run in history
        if run.id != record.id and run.started <= record.started and _conditions(run) == _conditions(record)
    ]


def _conditions(run: RunRecord) -> tuple[str, tuple[str, ...], str]:
    return run.runtime, run.numerics, run.weights
