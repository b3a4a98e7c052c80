"""Reductions against numpy in float64 and Python's own integers."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import scipy.special
import torch
from torch import Tensor

import milrun.ops  # noqa: F401 (registers the ops)
from milrun.registry import find
from tests.support.covering import each, pairs

INT_MAX = 2**31 - 1


def run(type: str, x: Any, opset: str = "iOS18", **arguments: Any) -> Tensor:
    found = find(type, opset)
    assert found is not None
    result = found.run(torch.as_tensor(x), **arguments)
    assert isinstance(result, Tensor)
    return result


REDUCTIONS: dict[str, Any] = {
    "reduce_sum": np.sum,
    "reduce_mean": np.mean,
    "reduce_max": np.max,
    "reduce_min": np.min,
    "reduce_prod": np.prod,
    "reduce_l1_norm": lambda x, **over: np.sum(np.abs(x), **over),
    "reduce_l2_norm": lambda x, **over: np.sqrt(np.sum(x * x, **over)),
    "reduce_sum_square": lambda x, **over: np.sum(x * x, **over),
    "reduce_log_sum": lambda x, **over: np.log(np.sum(x, **over)),
    "reduce_log_sum_exp": lambda x, **over: np.log(np.sum(np.exp(x), **over)),
}
SHAPES_AND_AXES: list[tuple[tuple[int, ...], list[int] | None]] = [
    ((), None),
    ((4,), None),
    ((4,), [0]),
    ((2, 3, 4), None),
    ((2, 3, 4), [1]),
    ((2, 3, 4), [-1]),
    ((2, 3, 4), [0, -1]),
    ((2, 3, 4), [2, 0, 1]),
    ((1, 3, 1, 4, 2), [-2, 1]),
    ((1, 3, 1, 4, 2), [4, 3, 0]),
    ((0, 3), [1]),
]


@pytest.mark.parametrize("type", REDUCTIONS)
def test_a_reduction_goes_over_its_axes(type: str) -> None:
    low = 0.2 if type == "reduce_log_sum" else -2
    for (shape, axes), keep_dims in itertools.product(SHAPES_AND_AXES, [False, True]):
        x = np.asarray(np.random.default_rng(1).uniform(low, 2, shape), dtype=np.float32)
        before = x.copy()
        y = run(type, x, axes=axes, keep_dims=keep_dims)
        axis = None if axes is None else tuple(axes)
        expected = REDUCTIONS[type](x.astype(np.float64), axis=axis, keepdims=keep_dims)
        assert y.shape == np.shape(expected), (shape, axes, keep_dims)
        np.testing.assert_allclose(y.numpy(), expected, 3e-6, 1e-6, err_msg=f"{shape} over {axes}, {keep_dims=}")
        np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("type", REDUCTIONS)
def test_without_arguments_a_reduction_takes_all_axes_and_drops_them(type: str) -> None:
    x = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], dtype=np.float32)
    y = run(type, x)
    assert y.shape == ()
    np.testing.assert_allclose(y.item(), REDUCTIONS[type](x.astype(np.float64)), rtol=1e-6)


@each(
    {
        "keep_dims": [False, True],
        "type": REDUCTIONS,
    }
)
def test_an_empty_list_of_axes_reduces_every_element_by_itself(type: str, keep_dims: bool) -> None:
    x = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], dtype=np.float32)
    y = run(type, x, axes=[], keep_dims=keep_dims)
    assert y.shape == (2, 3)
    np.testing.assert_allclose(y.numpy(), REDUCTIONS[type](x.astype(np.float64)[None], axis=0), rtol=1e-6)


@pytest.mark.parametrize(
    ("type", "expected"),
    [
        ("reduce_sum", [0, 0]),
        ("reduce_prod", [1, 1]),
        ("reduce_l1_norm", [0, 0]),
        ("reduce_l2_norm", [0, 0]),
        ("reduce_sum_square", [0, 0]),
        ("reduce_log_sum", [-np.inf, -np.inf]),
        ("reduce_mean", [np.nan, np.nan]),
    ],
)
def test_a_reduction_over_nothing_gives_its_neutral_value(type: str, expected: list[float]) -> None:
    np.testing.assert_array_equal(run(type, np.zeros((2, 0), np.float32), axes=[1]).numpy(), expected)


INTEGERS = [[16777217, -3, 2], [-16777219, 5, -1]]


@pytest.mark.parametrize(
    ("type", "function"),
    [
        ("reduce_sum", sum),
        ("reduce_max", max),
        ("reduce_min", min),
        ("reduce_prod", math.prod),
        ("reduce_l1_norm", lambda row: sum(abs(v) for v in row)),
        ("reduce_mean", lambda row: int(math.copysign(abs(sum(row)) // len(row), sum(row)))),
    ],
)
def test_a_reduction_of_integers_is_exact(type: str, function: Any) -> None:
    y = run(type, np.array(INTEGERS, dtype=np.int32), axes=[1])
    assert not y.is_floating_point()
    assert y.tolist() == [function(row) for row in INTEGERS]


def test_the_sum_of_squares_of_integers_is_exact() -> None:
    x = [[30000, 30001, -7], [-46340, 3, 0]]
    y = run("reduce_sum_square", np.array(x, dtype=np.int32), axes=[-1])
    assert y.tolist() == [sum(v * v for v in row) for row in x]


def test_norms_and_logarithms_of_integers_fall_on_the_right_side_of_an_integer() -> None:
    sides = [[30000, 40000], [19999, 1], [3, 4]]
    roots = run("reduce_l2_norm", np.array(sides, dtype=np.int32), axes=[1]).trunc().tolist()
    assert roots == [math.isqrt(a * a + b * b) for a, b in sides]
    # e^20 is 485165195.4: a float32 logarithm of the integer below it is 20.
    assert math.trunc(run("reduce_log_sum", np.array([485165000, 195], dtype=np.int32)).item()) == 19
    assert math.trunc(run("reduce_log_sum_exp", np.array([INT_MAX, -5], dtype=np.int32)).item()) == INT_MAX


@pytest.mark.parametrize("offset", [-1e4, 0.0, 1e4, 3e38])
def test_log_sum_exp_takes_values_of_any_size(offset: float) -> None:
    x = np.float32(offset) + np.array([[0.0, 1.0, 2.0], [-5.0, 0.0, 5.0]], dtype=np.float32)
    expected = scipy.special.logsumexp(x.astype(np.float64), axis=1)
    np.testing.assert_allclose(run("reduce_log_sum_exp", x, axes=[1]).numpy(), expected, rtol=1e-6)


def test_log_sum_exp_of_infinities_is_no_nan() -> None:
    x = np.array([[-np.inf, -np.inf], [-np.inf, 3], [np.inf, 3]], dtype=np.float32)
    np.testing.assert_array_equal(run("reduce_log_sum_exp", x, axes=[1]).numpy(), [-np.inf, 3, np.inf])


@pytest.mark.parametrize("type", ["reduce_sum", "reduce_mean", "reduce_l1_norm", "reduce_l2_norm", "reduce_sum_square"])
def test_a_long_sum_does_not_drift(type: str) -> None:
    x = np.random.default_rng(2).uniform(0, 1, 2**20).astype(np.float32)
    np.testing.assert_allclose(run(type, x).item(), REDUCTIONS[type](x.astype(np.float64)), rtol=3e-7)


@pairs(
    {
        "dtype": [np.float32, np.float16, np.int32],
        "keep_dims": [False, True],
        "shape, axis": [((5,), 0), ((3, 4), 0), ((3, 4), -1), ((2, 3, 4, 1, 5), -3), ((0, 3), 1)],
        "type, function": [("reduce_argmax", np.argmax), ("reduce_argmin", np.argmin)],
    }
)
def test_the_position_of_an_extreme_is_the_first_one(
    type: str, function: Any, shape: tuple[int, ...], axis: int, keep_dims: bool, dtype: Any
) -> None:
    x = np.random.default_rng(3).integers(-2, 3, shape).astype(dtype)
    expected = function(x, axis=axis)
    if keep_dims:
        expected = np.expand_dims(expected, axis)
    y = run(type, x, axis=axis, keep_dims=keep_dims)
    assert y.shape == expected.shape
    np.testing.assert_array_equal(y.numpy(), expected)


@pytest.mark.parametrize(("type", "first"), [("reduce_argmax", 1), ("reduce_argmin", 0)])
def test_of_many_equal_extremes_the_first_position_counts(type: str, first: int) -> None:
    x = np.tile(np.array([0, 1], dtype=np.float32), 5000)
    assert run(type, x).item() == first
    assert run(type, torch.from_numpy(x).reshape(-1, 1).expand(-1, 3), axis=0).tolist() == [first] * 3


def test_positions_default_to_the_last_axis() -> None:
    x = np.array([[1.0, 2.0, 3.0], [6.0, 5.0, 4.0]], dtype=np.float32)
    assert run("reduce_argmax", x, opset="iOS15").tolist() == [2, 0]
    assert run("reduce_argmin", x, opset="iOS15").tolist() == [0, 2]


@pytest.mark.parametrize("type", ["reduce_argmax", "reduce_argmin"])
def test_positions_come_as_int32_or_uint16(type: str) -> None:
    x = np.array([1.0, 1.0], dtype=np.float32)
    assert run(type, x, output_dtype="uint16").item() == 0
    with pytest.raises(ValueError, match=f"{type}: output_dtype is 'int8', .*int32.*uint16"):
        run(type, x, output_dtype="int8")


@pytest.mark.parametrize("type", ["reduce_max", "reduce_min"])
def test_extremes_let_nan_through(type: str) -> None:
    assert run(type, np.array([1.0, np.nan, 2.0], dtype=np.float32)).isnan()
