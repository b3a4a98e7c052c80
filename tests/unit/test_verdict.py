"""How near a finding is to its bound, and how both are written."""

from __future__ import annotations

import math

import pytest

from parity.verdict import Bound, Finding, comparison, share

COSINE, ERROR, RATIO = Bound("min", 0.999, 1.0), Bound("max", 0.02, 0.0), Bound("within", 0.005, 1.0)
SPEED = Bound("min", 40.0, None, "×")


def finding(value: float | None, bound: Bound | None) -> Finding:
    return Finding("out", "gate", bound is None or (value is not None and bound.holds(value)), value, bound)


@pytest.mark.parametrize(
    ("value", "bound", "used"),
    [
        (1.0, COSINE, 0.0),
        (0.9995, COSINE, 0.5),
        (0.849, COSINE, 151.0),
        (0.005, ERROR, 0.25),
        (-0.1, ERROR, 0.0),
        (1.5, RATIO, 100.0),
        (0.9975, RATIO, 0.5),
        (80.0, SPEED, 0.5),
        (1.0, Bound("min", 1.0, 1.0), 0.0),
        (0.99, Bound("min", 1.0, 1.0), math.inf),
        (0.0, Bound("max", 0.0, 0.0), 0.0),
        (1e-9, Bound("max", 0.0, 0.0), math.inf),
        (math.nan, COSINE, math.inf),
        (math.inf, ERROR, math.inf),
    ],
)
def test_the_share_of_a_bound_that_is_used_up(value: float, bound: Bound, used: float) -> None:
    assert share(finding(value, bound)) == pytest.approx(used)


@pytest.mark.parametrize(("value", "bound"), [(None, COSINE), (0.5, None)])
def test_what_has_no_number_has_no_share(value: float | None, bound: Bound | None) -> None:
    assert share(finding(value, bound)) is None


@pytest.mark.parametrize(
    ("value", "bound", "said"),
    [
        (0.9999, COSINE, "0.9999 ≥ 0.999"),
        (0.849, COSINE, "0.849 < 0.999"),
        (0.541, ERROR, "0.541 > 0.02"),
        (1.5, RATIO, "1.5 not within 0.005 of 1"),
        (math.nan, ERROR, "NaN breaks ≤ 0.02"),
        (1.0, COSINE, "1 ≥ 0.999"),
        (0.9999999, COSINE, "0.9999999 ≥ 0.999"),
        (30.0, SPEED, "30 < 40 ×"),
        (3.0, None, "3"),
    ],
)
def test_value_and_bound_are_written_as_they_compare(value: float, bound: Bound | None, said: str) -> None:
    assert comparison(finding(value, bound)) == said


@pytest.mark.parametrize(("limit", "said"), [(1.0, "1"), (1e-6, "1e-06"), (0.9999995, "0.9999995"), (0.0, "0")])
def test_a_bound_is_written_exactly(limit: float, said: str) -> None:
    assert str(Bound("max", limit, 0.0)) == f"≤ {said}"
