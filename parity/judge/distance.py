"""Modules that are far from upstream, in which a bug of that size would pass, and the seams that would show it."""

from __future__ import annotations

from collections.abc import Iterable

from parity.declarations import System
from parity.judge.calibrate import Measured
from parity.judge.headroom import number
from parity.plan.checks import MODULE

FAR = 1e-3
"""Relative L2 of a module's output. Rewriting a stage for tracing takes a hundredth of that, unless it amplifies."""
_METRIC = "relative_l2"


def far(measured: Iterable[Measured], system: System) -> list[str]:
    """Return a line for each stage that is far from upstream, unless it is an inner stage or has one."""
    worst: dict[str, Measured] = {}
    seen = {name for stage in system.inner for name in (stage.name, stage.within)}
    for one in measured:
        if one.variant == MODULE and one.metric == _METRIC and one.stage not in seen:
            worst[one.stage] = max(worst.get(one.stage, one), one, key=lambda found: found.value)
    return [
        f"{system.name}/{stage}: the module itself is {number(one.value)} from upstream (relative L2 of {one.output}, "
        f"case {one.case}), so a bug of that size passes. Tap upstream inside the stage, and declare its parts: "
        f'System(…, inner=(Stage(…, within="{stage}"),)), see docs/gates.md'
        for stage, one in worst.items()
        if one.value > FAR
    ]
