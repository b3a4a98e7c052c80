"""Every number that a run measured, gathered from the evidence of its verdicts, and the modules that are far by it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from parity.base.cache import Cache
from parity.compare import evidence
from parity.declarations import System
from parity.judge.headroom import number
from parity.plan.checks import MODULE
from parity.verdict import Check, Verdict

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
    def table(self) -> tuple[str, str, str]:
        return self.check.stage, self.check.variant, self.output

    @property
    def gate(self) -> str:
        return ".".join((*self.table, self.metric))


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
