"""Elementwise ops of two tensors against numpy in float64 and Python's own integers."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import milrun.ops  # noqa: F401 (registers the ops)
from milrun.registry import find, preparers
from tests.support.covering import each, pairs

INT_MIN, INT_MAX = -(2**31), 2**31 - 1


def run(type: str, *operands: Any) -> Tensor:
    found = find(type, "iOS18")
    assert found is not None
    result = found.run(*(torch.as_tensor(operand) for operand in operands))
    assert isinstance(result, Tensor)
    return result


ARITHMETIC: list[tuple[str, Any]] = [
    ("add", np.add),
    ("sub", np.subtract),
    ("mul", np.multiply),
    ("real_div", np.divide),
    ("floor_div", lambda x, y: np.floor(x / y)),
    ("mod", lambda x, y: x - np.floor(x / y) * y),
    ("maximum", np.maximum),
    ("minimum", np.minimum),
]
COMPARISONS: list[tuple[str, Any]] = [
    ("equal", operator.eq),
    ("not_equal", operator.ne),
    ("greater", operator.gt),
    ("greater_equal", operator.ge),
    ("less", operator.lt),
    ("less_equal", operator.le),
]
SHAPES = [((), ()), ((3,), ()), ((), (2, 3)), ((4, 1), (3,)), ((0, 3), (1, 3)), ((2, 1, 3, 1, 2), (4, 1, 5, 1))]


@each(
    {
        "left, right": SHAPES,
        "type, function": ARITHMETIC,
    }
)
def test_arithmetic_broadcasts_its_operands(
    type: str, function: Any, left: tuple[int, ...], right: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(1)
    x = np.asarray(rng.uniform(-9, 9, left), dtype=np.float32)
    y = np.asarray(rng.choice([-1, 1], right) * rng.uniform(0.5, 3, right), dtype=np.float32)
    expected = function(x.astype(np.float64), y.astype(np.float64))
    result = run(type, x, y)
    assert result.shape == np.broadcast_shapes(left, right)
    np.testing.assert_allclose(result.numpy(), expected, rtol=3e-6, atol=3e-6)


@pairs(
    {
        "left, right": SHAPES,
        "dtype": [np.float32, np.float16, np.int32],
        "type, function": COMPARISONS,
    }
)
def test_a_comparison_gives_booleans(
    type: str, function: Any, dtype: Any, left: tuple[int, ...], right: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(2)
    x, y = (np.asarray(rng.integers(-2, 3, shape)).astype(dtype) for shape in (left, right))
    result = run(type, x, y)
    assert result.dtype is torch.bool
    np.testing.assert_array_equal(result.numpy(), function(x, y))


@pytest.mark.parametrize(
    ("type", "function"),
    [("logical_and", np.logical_and), ("logical_or", np.logical_or), ("logical_xor", np.logical_xor)],
)
def test_logic_has_the_right_truth_table(type: str, function: Any) -> None:
    x, y = np.array([[False], [True]]), np.array([False, True])
    np.testing.assert_array_equal(run(type, x, y).numpy(), function(x, y))


NUMBERS = [-(2**31) + 1, -16777217, -7, -6, -5, -1, 0, 1, 5, 6, 7, 16777217, 2**31 - 1]
DIVISORS = [-16777217, -7, -3, -2, -1, 1, 2, 3, 7, 16777217]


def truncated(x: int, y: int) -> int:
    quotient = abs(x) // abs(y)
    return quotient if (x < 0) == (y < 0) else -quotient


@pytest.mark.parametrize(
    ("type", "function"), [("floor_div", operator.floordiv), ("mod", operator.mod), ("real_div", truncated)]
)
def test_division_of_integers_is_exact_for_every_pair_of_signs(type: str, function: Any) -> None:
    x, y = np.array(NUMBERS, dtype=np.int32)[:, None], np.array(DIVISORS, dtype=np.int32)
    assert run(type, x, y).tolist() == [[function(a, b) for b in DIVISORS] for a in NUMBERS]


@pytest.mark.parametrize("count", [1, 100])
def test_the_smallest_integer_divided_by_minus_one_wraps_around(count: int) -> None:
    x, y = np.full(count, INT_MIN, dtype=np.int32), np.full(count, -1, dtype=np.int32)
    assert run("floor_div", x, y).int().tolist() == [INT_MIN] * count
    assert run("real_div", x, y).int().tolist() == [INT_MIN] * count
    assert run("mod", x, y).tolist() == [0] * count


@pytest.mark.parametrize("type", ["floor_div", "mod", "real_div"])
def test_division_of_integers_by_zero_is_an_error(type: str) -> None:
    with pytest.raises(RuntimeError, match="ZeroDivision"):
        run(type, np.array([1], dtype=np.int32), np.array([0], dtype=np.int32))


@pytest.mark.parametrize(("type", "function"), [("add", operator.add), ("sub", operator.sub), ("mul", operator.mul)])
def test_arithmetic_of_integers_is_exact_beyond_float32(type: str, function: Any) -> None:
    pairs = [(16777217, 1), (-16777217, 100), (46341, 46337), (2**30, -1)]
    x, y = (np.array(column, dtype=np.int32) for column in zip(*pairs, strict=True))
    assert run(type, x, y).tolist() == [function(a, b) for a, b in pairs]


@pytest.mark.parametrize(("type", "function"), [("maximum", max), ("minimum", min)])
def test_extremes_of_integers_are_exact_beyond_float32(type: str, function: Any) -> None:
    x, y = [16777217, -16777217, INT_MAX], [16777216, -16777216, INT_MIN]
    result = run(type, np.array(x, dtype=np.int32), np.array(y, dtype=np.int32))
    assert result.tolist() == [function(a, b) for a, b in zip(x, y, strict=True)]


@pytest.mark.parametrize("type", ["maximum", "minimum"])
def test_extremes_let_nan_through(type: str) -> None:
    x, y = np.array([np.nan, 1], np.float32), np.array([1, np.nan], np.float32)
    assert run(type, x, y).isnan().all()


def test_mod_of_floats_is_finite_where_their_quotient_is_not() -> None:
    # Long enough for torch's vectors, which alone overflow.
    x = np.tile(np.array([1.0, -2.5, 3e38, 7.0], dtype=np.float32), 8)
    y = np.tile(np.array([1e-40, 1e-40, 0.5, 4.0], dtype=np.float32), 8)
    assert run("mod", x, y).tolist() == np.mod(x, y).tolist()
    assert run("mod", x, np.zeros_like(x)).isnan().all()


def test_mod_of_floats_takes_the_sign_of_the_divisor() -> None:
    x, y = np.array([5.5, -5.5, 5.5, -5.5], np.float32), np.array([3, 3, -3, -3], np.float32)
    assert run("mod", x, y).tolist() == [2.5, 0.5, -0.5, -2.5]
    assert run("floor_div", x, y).tolist() == [1, -2, -2, 1]


def test_real_division_of_floats_by_zero_is_infinite() -> None:
    assert run("real_div", np.array([1, -1], np.float32), np.array([0, 0], np.float32)).tolist() == [np.inf, -np.inf]


@pytest.mark.parametrize(("left", "right"), SHAPES)
def test_pow_broadcasts_its_operands(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    x, y = (np.asarray(rng.uniform(low, 3, shape), dtype=np.float32) for low, shape in ((0.2, left), (-3, right)))
    np.testing.assert_allclose(run("pow", x, y).numpy(), x.astype(np.float64) ** y.astype(np.float64), rtol=3e-6)


def test_pow_of_integers_is_exact() -> None:
    pairs = [(3, 19), (-7, 11), (2, 30), (-2, 31), (46340, 2), (0, 0), (5, 0), (-1, 7)]
    x, y = (np.array(column, dtype=np.int32) for column in zip(*pairs, strict=True))
    assert run("pow", x, y).tolist() == [a**b for a, b in pairs]


def test_pow_of_integers_truncates_the_fractions_of_negative_exponents() -> None:
    x = np.array([2, -2, 1, -1, -1], dtype=np.int32)
    assert run("pow", x, np.array([-1, -3, -5, -3, -4], dtype=np.int32)).tolist() == [0, 0, 1, -1, 1]


@pytest.mark.parametrize("exponent", [-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 1.7, 2.0, 3.0, 4.0])
def test_pow_with_a_constant_exponent_is_prepared(exponent: float) -> None:
    prepare = preparers("pow")[0]
    assert prepare is not None
    kernel = prepare(y=torch.tensor(exponent))
    assert kernel is not None
    x = np.random.default_rng(4).uniform(0.1, 9, (3, 5)).astype(np.float32)
    expected = x.astype(np.float64) ** np.float64(np.float32(exponent))
    np.testing.assert_allclose(kernel(x=torch.tensor(x)).numpy(), expected, rtol=3e-6)


@pytest.mark.parametrize("exponent", [torch.tensor(2), torch.tensor([2.0]), torch.tensor([1.0, 2.0])])
def test_pow_with_other_constants_is_left_as_it_is(exponent: Tensor) -> None:
    prepare = preparers("pow")[0]
    assert prepare is not None
    assert prepare(y=exponent) is None


@each(
    {
        "dtype": [np.float32, np.float16, np.int32, np.bool_],
        "cond, a, b": [
            ((), (), ()),
            ((3, 1), (3,), (3, 3)),
            ((3, 1), (), (3, 2)),
            ((), (2, 3), ()),
            ((1, 2), (0, 2), (1,)),
        ],
    }
)
def test_select_broadcasts_and_keeps_the_dtype(
    dtype: Any, cond: tuple[int, ...], a: tuple[int, ...], b: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(5)
    mask = np.asarray(rng.integers(0, 2, cond)).astype(bool)
    x, y = (np.asarray(rng.integers(0, 9, shape)).astype(dtype) for shape in (a, b))
    result = run("select", mask, x, y)
    assert result.numpy().dtype == dtype
    np.testing.assert_array_equal(result.numpy(), np.where(mask, x, y))


def test_select_does_not_look_at_what_it_does_not_take() -> None:
    result = run(
        "select", np.array([True, False]), np.array([1, np.nan], np.float32), np.array([np.inf, 2], np.float32)
    )
    assert result.tolist() == [1, 2]
