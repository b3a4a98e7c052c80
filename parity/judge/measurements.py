"""Every number that a run measured, gathered from the evidence of its verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from parity.base.cache import Cache
from parity.compare import evidence
from parity.declarations import System
from parity.judge.calibrate import CalibrationError, Measured
from parity.verdict import Verdict


def measurements(verdicts: Iterable[Verdict], system: System, cache: Cache) -> Iterator[Measured]:
    """Yield what the verdicts of a system rest on, each metric of each output."""
    for verdict in verdicts:
        check = verdict.check
        if check.system != system.name or not verdict.evidence:
            continue
        folder = evidence.folder_of(cache, verdict.evidence)
        if folder is None:
            raise CalibrationError(f"the evidence of {check.id} is gone; run `pytest -m parity` again")
        for output, values in evidence.read(folder, verdict.evidence).values.items():
            for metric, value in values.items():
                yield Measured(
                    stage=check.stage,
                    variant=check.variant,
                    output=system.family(check.stage, output),
                    metric=metric,
                    value=value,
                    case=check.case,
                    numerics=check.numerics,
                )
