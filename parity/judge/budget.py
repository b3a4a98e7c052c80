"""One budget: what it bounds, how far it may be from what was measured, and what it says about a value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from parity.base import toml
from parity.base.toml import Place
from parity.verdict import Finding

FARTHEST = 4.0
"""A bound that leaves a factor of this to what was measured can hardly fail."""
FARTHEST_SHARE = 0.25
"""The same for a share, as a difference."""
DEVICE, ANYWHERE = frozenset({"coreml", "executorch"}), frozenset({"milrun"})


class BudgetError(ValueError):
    """A file of budgets that can't be taken at its word, or a budget that is not in it."""


@dataclass(frozen=True)
class Kind:
    """What a budget bounds. `subject` names the keys under it; a one-sided kind can't be suspiciously good."""

    unit: str
    better: Literal["higher", "lower"]
    subject: tuple[str, ...] = ()
    runtimes: frozenset[str] = DEVICE | ANYWHERE
    two_sided: bool = True
    most: float = math.inf

    @property
    def is_share(self) -> bool:
        return self.most == 1.0

    @property
    def worst(self) -> float:
        """What a share can be at worst."""
        return self.most if self.better == "lower" else 0.0

    def possible(self, value: float) -> bool:
        """Nothing takes no time or no space; a share may be 0."""
        return math.isfinite(value) and value <= self.most and (value > 0 or (self.is_share and value == 0))

    def worse(self, value: float, than: float) -> bool:
        return value > than if self.better == "lower" else value < than


PROFILE_KINDS = {
    "rtfx": Kind("×", "higher", runtimes=DEVICE),
    "chain_ms": Kind("ms", "lower", ("T_enc",), DEVICE),
    "stage_ms": Kind("ms", "lower", ("stage", "T_enc"), DEVICE),
    "chain_ratio": Kind("× eager", "lower", runtimes=ANYWHERE),
    "stage_ratio": Kind("× eager", "lower", ("stage",), ANYWHERE),
    "load_s": Kind("s", "lower", ("stage",), two_sided=False),
}
SIZE_KINDS = {"size_mb": Kind("MB", "lower")}
PLACEMENT_KINDS = {
    "neural_engine_share": Kind("", "higher", two_sided=False, most=1.0),
    "gpu_share": Kind("", "lower", two_sided=False, most=1.0),
    "cpu_share": Kind("", "lower", two_sided=False, most=1.0),
}
KINDS = {**PROFILE_KINDS, **SIZE_KINDS, **PLACEMENT_KINDS}


@dataclass(frozen=True)
class Budget:
    """One bound, or one on each side, and what was measured when it was set."""

    path: tuple[str, ...]
    kind: str
    subject: tuple[str, ...]
    low: float | None
    high: float | None
    measured: float
    derived_from: str
    reason: str = ""

    @property
    def name(self) -> str:
        return ".".join(self.path)

    @property
    def bad(self) -> float:
        """The bound on the side that is worse."""
        bound = self.high if KINDS[self.kind].better == "lower" else self.low
        return math.nan if bound is None else bound

    @property
    def good(self) -> float | None:
        """The bound on the side that is too good to be true."""
        return self.low if KINDS[self.kind].better == "lower" else self.high

    @property
    def text(self) -> str:
        """The bounds in words."""
        both = self._text(self.bad)
        return both if self.good is None else f"{both} and {self._text(self.good, suspicious=True)}"

    def check(self, value: float) -> Finding:
        kind = KINDS[self.kind]
        said = f"{self.kind} {value:g} {kind.unit}".rstrip()
        bound, message = self._text(self.bad), ""
        passed = (self.low is None or self.low <= value) and (self.high is None or value <= self.high)
        if not kind.possible(value):
            passed, message = False, f"{said} can't be: measure it again"
        elif self.good is not None and kind.worse(self.good, value):
            bound = self._text(self.good, suspicious=True)
            message = f"{said} is too good, not {bound}: is something left out? If it isn't, update the budget"
        return Finding(".".join(self.subject), self.kind, passed, value, bound, message)

    def _text(self, bound: float, suspicious: bool = False) -> str:
        kind = KINDS[self.kind]
        at_least = (kind.better == "higher") != suspicious
        return f"{'≥' if at_least else '≤'} {bound:g} {kind.unit}".rstrip()


def suggest(kind: str, measured: float, derived_from: str) -> str:
    """The entry for what was measured: 30 % worse, or 0.05 of a share, fails, and so does twice as good."""
    known = KINDS[kind]
    if not known.possible(measured):
        raise BudgetError(f"{kind} measured {measured}: no budget can be taken from that")
    lower = known.better == "lower"
    worse = measured * 1.3 if lower else measured / 1.3
    if known.is_share:
        worse = measured + 0.05 if lower else max(0.0, measured - 0.05)
    sides = [("max" if lower else "min", worse)]
    if known.two_sided:
        sides.append(("min", measured / 2) if lower else ("max", measured * 2))
    bounds = ", ".join(f"{side} = {float(f'{bound:.3g}')}" for side, bound in sorted(sides, reverse=True))
    return f"{{ {bounds}, measured = {float(f'{measured:.4g}')}, derived_from = {toml.quoted(derived_from)} }}"


def read(kind: str, entry: Mapping[str, Any], place: Place, subject: tuple[str, ...]) -> Budget:
    known = KINDS[kind]
    place.known(entry, ("min", "max", "measured", "derived_from", "reason"))
    needed = ("min", "max") if known.two_sided else ("max",) if known.better == "lower" else ("min",)
    for key in (*needed, "measured"):
        if key not in entry:
            raise place.wrong(f"has no {key}: add {key} = …, in {known.unit or 'parts of 1'}")
    low, high = (place.number(entry, key) if key in entry else None for key in ("min", "max"))
    measured = place.number(entry, "measured")
    derived_from, reason = place.text(entry, "derived_from"), place.text(entry, "reason", "")
    if kind not in PROFILE_KINDS:
        subject = place.path[1:-1] or place.path[:1]
    elif "stage" not in known.subject:
        subject = ("chain", *subject)
    budget = Budget(place.path, kind, subject, low, high, measured, derived_from, reason)
    if not budget.check(measured).passed:
        raise place.wrong(f"measured {measured:g} does not lie within its own bounds")
    for bound in (low, high):
        if bound is not None and _far(bound, measured, known):
            raise place.wrong(f"{bound:g} can hardly fail: it is too far from {measured:g}, which was measured")
    return budget


def _far(bound: float, measured: float, kind: Kind) -> bool:
    if kind.is_share:
        return abs(bound - measured) >= FARTHEST_SHARE or not kind.worse(kind.worst, bound)
    return not measured / FARTHEST < bound < measured * FARTHEST
