"""Every number that a run measured, gathered from the evidence of its verdicts."""

from __future__ import annotations

from collections.abc import Iterable

from parity import evidence
from parity.cache import Cache
from parity.calibrate import CalibrationError, Measured
from parity.declarations import System
from parity.verdict import Verdict


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
