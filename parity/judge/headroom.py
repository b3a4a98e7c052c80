"""How near a finding is to its bound, read from the bound's own words: `≥ 0.999`, `≤ 0.02`, `within 0.005 of 1`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from parity.verdict import Finding

NUMBER = r"([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)"
FORMS = {
    "min": re.compile(rf"(?:≥|>=|>|at least|min)\s*{NUMBER}", re.IGNORECASE),
    "max": re.compile(rf"(?:≤|<=|<|at most|max)\s*{NUMBER}", re.IGNORECASE),
    "within": re.compile(rf"(?:within|±)\s*{NUMBER}(?:[^0-9.+-]*?(?:of|around)\s*{NUMBER})?", re.IGNORECASE),
}


@dataclass(frozen=True)
class Bound:
    """`limit` is the bound itself, for "within" the distance that is allowed from `ideal`."""

    form: str
    limit: float
    ideal: float


def bound_of(finding: Finding) -> Bound | None:
    """The bound as numbers, or None where it is no number."""
    for form, pattern in FORMS.items():
        if match := pattern.match(finding.bound.strip()):
            limit = float(match[1])
            return Bound(form, limit, _ideal(form, limit, match[2] if form == "within" else None, finding.gate))
    return None


def share(finding: Finding) -> float | None:
    """The share of the bound that is used up: 0 at the ideal, 1 at the bound, more where it is broken.

    None where that is no number: a contract, or a bound without room.
    """
    bound = bound_of(finding)
    if bound is None or finding.value is None:
        return None
    if not math.isfinite(finding.value):
        return math.inf
    if bound.form == "within":
        return _ratio(abs(finding.value - bound.ideal), bound.limit)
    if bound.form == "min" and bound.limit > 1:
        return _ratio(bound.limit, finding.value)
    room = abs(bound.limit - bound.ideal)
    beyond = bound.ideal - finding.value if bound.form == "min" else finding.value - bound.ideal
    return _ratio(max(beyond, 0.0), room)


def comparison(finding: Finding) -> str:
    """Value and bound as one reads them: `0.849 < 0.999` where the bound is broken, `0.9999 ≥ 0.999` where it holds."""
    if finding.value is None:
        return finding.bound
    bound = bound_of(finding)
    if finding.passed or bound is None or not math.isfinite(finding.value):
        return f"{number(finding.value)}{_joined(finding)}"
    opposite = {"min": "<", "max": ">"}.get(bound.form)
    said = f"{opposite} {number(bound.limit)}" if opposite else f"not {finding.bound}"
    return f"{number(finding.value)} {said}"


def number(value: float) -> str:
    """A value in few digits, without hiding how near to 1 a cosine is."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "∞" if value > 0 else "−∞"
    if 0 < abs(1 - abs(value)) < 0.01:
        digits = min(9, 2 - math.floor(math.log10(abs(1 - abs(value)))))
        return f"{value:.{digits}f}".rstrip("0").rstrip(".")
    return f"{value:.4g}"


def _joined(finding: Finding) -> str:
    if not finding.bound:
        return ""
    return f" {finding.bound}" if finding.passed else f" breaks {finding.bound}"


def _ideal(form: str, limit: float, centre: str | None, gate: str) -> float:
    if centre is not None:
        return float(centre)
    if form == "within":
        return 1.0 if "ratio" in gate else 0.0
    return 1.0 if form == "min" else min(0.0, limit)


def _ratio(used: float, room: float) -> float:
    """A bound without room, such as "≤ 0", is used up or untouched."""
    if room > 0:
        return used / room if math.isfinite(used / room) else math.inf
    return 0.0 if used == 0 else math.inf
