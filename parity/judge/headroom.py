"""The share of a bound that a value uses up, and how value and bound are written."""

from __future__ import annotations

import math

from parity.verdict import Finding

_BROKEN = {"min": "<", "max": ">"}


def share(finding: Finding) -> float | None:
    """Return the share of the bound that is used up: 0 at the ideal, 1 at the bound, more where it is broken.

    None for a finding without a value or a bound, such as a contract.
    """
    bound, value = finding.bound, finding.value
    if bound is None or value is None:
        return None
    if not math.isfinite(value):
        return math.inf
    if bound.ideal is None:
        return _ratio(bound.limit, value) if bound.form == "min" else _ratio(value, bound.limit)
    if bound.form == "within":
        return _ratio(abs(value - bound.ideal), bound.limit)
    beyond = bound.ideal - value if bound.form == "min" else value - bound.ideal
    return _ratio(max(beyond, 0.0), abs(bound.limit - bound.ideal))


def comparison(finding: Finding) -> str:
    """Return value and bound as they compare: `0.849 < 0.999` where the bound is broken, `0.9999 ≥ 0.999` where not."""
    value, bound = finding.value, finding.bound
    if value is None:
        return str(bound or "")
    if bound is None or finding.passed:
        return f"{number(value)} {bound or ''}".rstrip()
    if not math.isfinite(value):
        return f"{number(value)} breaks {bound}"
    if bound.form in _BROKEN:
        return f"{number(value)} {_BROKEN[bound.form]} {number(bound.limit)} {bound.unit}".rstrip()
    return f"{number(value)} not {bound}"


def number(value: float) -> str:
    """Return a value in few digits that do not hide how near to 1 a cosine is."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "∞" if value > 0 else "−∞"
    if 0 < abs(1 - abs(value)) < 0.01:
        digits = min(9, 2 - math.floor(math.log10(abs(1 - abs(value)))))
        return f"{value:.{digits}f}".rstrip("0").rstrip(".")
    return f"{value:.4g}"


def _ratio(used: float, room: float) -> float:
    """Return the share of a bound that is used. A bound without room, such as "≤ 0", is used up or untouched."""
    if room > 0:
        return used / room if math.isfinite(used / room) else math.inf
    return 0.0 if used == 0 else math.inf
