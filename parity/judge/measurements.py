"""Every number that a run measured, gathered from the evidence of its verdicts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from parity.base.cache import Cache
from parity.compare import evidence
from parity.declarations import System
from parity.judge.calibrate import CalibrationError, Measured
from parity.plan.checks import plan
from parity.record.run import RunRecord
from parity.verdict import Verdict


@dataclass(frozen=True)
class _Ran:
    name: str
    numerics: str


def left_out(record: RunRecord, system: System) -> list[str]:
    """The checks of a system that a run had to leave out, or could not judge."""
    cases = [case for case in system.reference.cases if case.name in record.cases]
    runtimes = [_Ran(record.runtime, numerics) for numerics in record.numerics]
    judged = {verdict.id for verdict in record.verdicts}
    return [check.id for check in plan(system, cases, runtimes) if check.id not in judged]


def measurements(verdicts: Iterable[Verdict], system: System, cache: Cache) -> list[Measured]:
    found = []
    for verdict in verdicts:
        if verdict.system == system.name and verdict.evidence:
            folder = evidence.folder_of(cache, verdict.evidence)
            if folder is None:
                raise CalibrationError(f"the evidence of {verdict.id} is gone; run `pytest -m parity` again")
            for output, values in evidence.read(folder, verdict.evidence).values.items():
                gated = system.family(verdict.stage, output)
                found += [
                    Measured(verdict.stage, verdict.variant, gated, metric, value, verdict.case, verdict.numerics)
                    for metric, value in values.items()
                ]
    return found
