"""How near a finding is to its bound, and how both are written."""

from __future__ import annotations

import math

import pytest

from parity.judge.headroom import comparison, share
from parity.verdict import Finding


@pytest.mark.parametrize(
    ("gate", "value", "bound", "used"),
    [
        ("cosine", 1.0, "≥ 0.999", 0.0),
        ("cosine", 0.9995, "≥ 0.999", 0.5),
        ("cosine", 0.849, "≥ 0.999", 151.0),
        ("relative_l2", 0.005, "≤ 0.02", 0.25),
        ("relative_l2", 0.0, "≤ 0.02", 0.0),
        ("rms_ratio", 1.5, "within 0.005 of 1", 100.0),
        ("rms_ratio", 0.9975, "within 0.005", 0.5),
        ("gain_db", -0.05, "within 0.1 of 0", 0.5),
        ("snr", 80.0, "≥ 40", 0.5),
        ("equal", 1.0, "≥ 1", 0.0),
        ("equal", 0.99, "≥ 1", math.inf),
        ("max_abs", 0.0, "≤ 0", 0.0),
        ("max_abs", 1e-9, "≤ 0.0", math.inf),
        ("relative_l2", 2e-7, "≤ 1e-6", 0.2),
        ("cosine", math.nan, "≥ 0.999", math.inf),
        ("relative_l2", math.inf, "≤ 0.02", math.inf),
    ],
)
def test_the_share_of_a_bound_that_is_used_up(gate: str, value: float, bound: str, used: float) -> None:
    assert share(Finding("out", gate, True, value, bound)) == pytest.approx(used)


@pytest.mark.parametrize(("value", "bound"), [(None, "≥ 0.9"), (0.5, ""), (0.5, "float16"), (0.5, "(1, 2)")])
def test_what_has_no_number_has_no_share(value: float | None, bound: str) -> None:
    assert share(Finding("out", "gate", True, value, bound)) is None


@pytest.mark.parametrize(
    ("passed", "value", "bound", "said"),
    [
        (True, 0.9999, "≥ 0.999", "0.9999 ≥ 0.999"),
        (False, 0.849, "≥ 0.999", "0.849 < 0.999"),
        (False, 0.541, "≤ 0.02", "0.541 > 0.02"),
        (False, 1.5, "within 0.005 of 1", "1.5 not within 0.005 of 1"),
        (False, math.nan, "≤ 0.02", "NaN breaks ≤ 0.02"),
        (True, 1.0, "≥ 0.999", "1 ≥ 0.999"),
        (True, 0.9999999, "≥ 0.999", "0.9999999 ≥ 0.999"),
        (False, 3.0, "", "3"),
    ],
)
def test_value_and_bound_are_written_as_they_compare(passed: bool, value: float, bound: str, said: str) -> None:
    assert comparison(Finding("out", "gate", passed, value, bound)) == said
