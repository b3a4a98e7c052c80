"""Derivation of a bound from measurements, and whether a bound in a file is the one that follows from its own.

The distance of the worst value from the ideal is tripled (1 − cosine, |rms ratio − 1|, the relative L2 itself) and
rounded to two digits away from the ideal, never nearer than the metric's floor.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterator, Sequence
from decimal import ROUND_CEILING, Decimal

from parity.compare.metrics import Metric
from parity.judge import headroom

HEADROOM = 3
_CASES = re.compile(r" over [0-9]+ measurements?: ([0-9]+) case")
_WORST = re.compile(r"worst (-?[0-9.]+(?:e[+-]?[0-9]+)?), median ")


def bound_from(metric: Metric, values: Sequence[float]) -> float | None:
    """Return the bound that the values suggest; None if even a bound at the metric's limit would not hold them."""
    ideal = Decimal(repr(metric.ideal))
    worst = max(_distance(metric, value) for value in values)
    room = _outward(max(HEADROOM * worst, Decimal(repr(metric.floor))))
    if float(room) >= metric.limit:
        return None
    if metric.better == "near":
        return float(room)
    return float(ideal - room if metric.better == "higher" else ideal + room)


def worst_of(metric: Metric, values: Sequence[float]) -> float:
    return max(values, key=metric.distance)


def origin(metric: Metric, values: Sequence[float], count: str) -> str:
    """Return the text that says what a bound was derived from; `derives` reads it.

    Args:
        metric: The metric.
        values: What was measured.
        count: How many measurements they are, and of what.
    """
    worst, median = headroom.number(worst_of(metric, values)), headroom.number(statistics.median(values))
    return f"worst {worst}, median {median} over {count}"


def derives(metric: Metric, derived_from: str, limit: float) -> bool:
    """Return whether a bound is the one that follows from the measurements of its `derived_from`.

    The text has the worst value in a few digits. Any value that they may stand for counts.
    """
    said = _WORST.match(derived_from)
    if said is None:
        return False
    bounds = [bound for value in _meant(float(said[1])) if (bound := bound_from(metric, [value])) is not None]
    return bool(bounds) and min(bounds) <= limit <= max(bounds)


def cases_of(derived_from: str) -> int:
    """Return the number of cases that a bound was derived from; 0 for a text that does not say it."""
    said = _CASES.search(derived_from)
    return int(said[1]) if said else 0


def _meant(value: float) -> Iterator[float]:
    """Yield the ends of the range of values that `headroom.number` writes as this one."""
    near = abs(1 - abs(value))
    if near < 0.01:
        digits = min(9, 2 - math.floor(math.log10(near))) if near else 9
    else:
        digits = 3 - math.floor(math.log10(abs(value))) if value else 99
    yield from (value - 0.5 * 10.0**-digits, value, value + 0.5 * 10.0**-digits)


def _distance(metric: Metric, value: float) -> Decimal:
    """Return the metric's distance without the noise that binary fractions add to 1 − 0.999995."""
    beyond = Decimal(repr(float(value))) - Decimal(repr(metric.ideal))
    if metric.better == "near":
        return abs(beyond)
    return max(Decimal(0), beyond if metric.better == "lower" else -beyond)


def _outward(room: Decimal) -> Decimal:
    if not room:
        return room
    return room.quantize(Decimal(1).scaleb(room.adjusted() - 1), rounding=ROUND_CEILING)
