"""Derivation of a bound from measurements, and whether a bound in a file is the one that follows from its own.

The distance of the worst value from the ideal is tripled (1 − cosine, |rms ratio − 1|, the relative L2 itself) and
rounded to two digits away from the ideal, never nearer than the metric's floor.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from decimal import ROUND_CEILING, Decimal
from typing import Annotated

from pydantic import Field

from parity.base.text import many
from parity.base.toml import Table, Text, number
from parity.compare.metrics import Metric
from parity.judge import headroom

HEADROOM = 3


class Origin(Table):
    """Measurements that a bound was derived from.

    worst, median: in as many digits as are worth reading.
    cases: how many there were.
    numerics: those that they were measured in.
    """

    worst: float
    median: float
    cases: Annotated[int, Field(gt=0)]
    numerics: Text

    @staticmethod
    def of(metric: Metric, values: Sequence[float], cases: int, numerics: str) -> Origin:
        """Return the origin of a bound on values that were measured.

        Args:
            metric: The metric.
            values: Its values.
            cases: How many cases they are of.
            numerics: The numerics that they were measured in.
        """
        worst, median = (
            float(headroom.number(found)) for found in (worst_of(metric, values), statistics.median(values))
        )
        return Origin(worst=worst, median=median, cases=cases, numerics=numerics)

    def written(self) -> str:
        """Return the table as TOML writes it."""
        fields = {"worst": number(self.worst), "median": number(self.median), "cases": self.cases}
        return f'{{ {", ".join(f"{name} = {value}" for name, value in fields.items())}, numerics = "{self.numerics}" }}'

    def __str__(self) -> str:
        values = f"worst {headroom.number(self.worst)}, median {headroom.number(self.median)}"
        return f"{values} of {many(self.cases, 'case')} × {self.numerics}"


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


def derives(metric: Metric, origin: Origin | str, limit: float) -> bool:
    """Return whether a bound is the one that follows from the measurements it was derived from."""
    return isinstance(origin, Origin) and bound_from(metric, [origin.worst]) == limit


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
