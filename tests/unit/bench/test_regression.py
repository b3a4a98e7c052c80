"""A regression is one by the test and by the factor; fewer samples than can show one are an error."""

from __future__ import annotations

import numpy as np
import pytest

from parity.bench.baseline import FACTOR, BaselineError, Change, P, compare, smallest_p


def around(median: float, count: int = 12, spread: float = 0.03, seed: int = 0) -> list[float]:
    return [float(value) for value in median * (1 + spread * np.random.default_rng(seed).standard_normal(count))]


def test_the_same_speed_is_no_change() -> None:
    change = compare(around(1.0), around(1.0, 6, seed=1))
    assert not change.slower
    assert not change.faster


def test_a_third_more_time_is_a_regression() -> None:
    change = compare(around(1.0), around(1.33, 6, seed=1))
    assert change.slower
    assert change.factor == pytest.approx(1.33, rel=0.05)


def test_a_third_less_time_is_faster() -> None:
    assert compare(around(1.33), around(1.0, 6, seed=1)).faster


def test_a_significant_difference_below_the_factor_is_no_regression() -> None:
    change = compare(around(1.0, 20, 0.005), around(1.05, 20, 0.005, 1))
    assert change.p < P
    assert not change.slower


def test_a_factor_within_the_noise_is_no_regression() -> None:
    change = compare([1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0], [1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 1.0])
    assert not change.slower
    assert not change.faster
    noisy = compare([1.0, 3.0] * 6, [1.9, 2.8, 3.1, 2.9, 3.2, 1.0])
    assert noisy.factor > FACTOR
    assert not noisy.slower


def test_a_difference_of_what_two_processes_differ_by_is_no_change() -> None:
    before, slower, faster = around(0.15), around(0.19, 6, seed=1), around(0.11, 6, seed=1)
    assert compare(before, slower).slower
    assert compare(before, faster).faster
    assert not compare(before, slower, least=0.05).slower
    assert not compare(before, faster, least=0.05).faster
    assert compare(before, around(0.22, 6, seed=1), least=0.05).slower


def test_samples_that_are_all_alike_are_no_change() -> None:
    assert compare([1.0] * 7, [1.0] * 7) == Change(1.0, 1.0)


def test_constant_samples_that_moved_are_a_regression() -> None:
    assert compare([1.0] * 12, [1.5] * 6).slower


@pytest.mark.parametrize(("before", "now"), [(12, 0), (0, 12), (12, 2), (6, 6), (3, 3)])
def test_too_few_samples_are_an_error_and_no_pass(before: int, now: int) -> None:
    with pytest.raises(BaselineError, match="can show no regression"):
        compare([1.0] * before, [9.0] * now)


def test_the_fewest_rounds_against_a_baseline_can_show_a_regression() -> None:
    assert smallest_p(12, 5) < P
