"""Elementwise ops of one tensor against numpy in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.special
import torch
from torch import Tensor

import milrun.ops  # noqa: F401 (registers the ops)
from milrun.registry import find
from tests.support.covering import each

INT_MIN, INT_MAX = -(2**31), 2**31 - 1


def run(type: str, x: Any, **arguments: Any) -> Tensor:
    found = find(type, "iOS18")
    assert found is not None
    result = found.run(torch.as_tensor(x), **arguments)
    assert isinstance(result, Tensor)
    return result


FUNCTIONS: list[tuple[str, Any, float, float]] = [
    ("abs", np.abs, -9, 9),
    ("acos", np.arccos, -1, 1),
    ("asin", np.arcsin, -1, 1),
    ("atan", np.arctan, -9, 9),
    ("atanh", np.arctanh, -0.99, 0.99),
    ("ceil", np.ceil, -9, 9),
    ("cos", np.cos, -9, 9),
    ("cosh", np.cosh, -9, 9),
    ("erf", scipy.special.erf, -4, 4),
    ("exp", np.exp, -9, 9),
    ("exp2", np.exp2, -9, 9),
    ("floor", np.floor, -9, 9),
    ("inverse", lambda x: 1 / (x + 1e-4), 0.5, 9),
    ("log", np.log, 0.001, 9),
    ("round", np.rint, -9, 9),
    ("rsqrt", lambda x: 1 / np.sqrt(x + 1e-12), 0.001, 9),
    ("sign", np.sign, -9, 9),
    ("sin", np.sin, -9, 9),
    ("sinh", np.sinh, -9, 9),
    ("sqrt", np.sqrt, 0, 9),
    ("square", np.square, -9, 9),
    ("tan", np.tan, -1.5, 1.5),
    ("tanh", np.tanh, -9, 9),
]


@each(
    {
        "shape": [(), (0, 3), (37,), (2, 3, 1, 2, 3)],
        "type, function, low, high": FUNCTIONS,
    }
)
def test_a_function_is_applied_to_every_element(
    type: str, function: Any, low: float, high: float, shape: tuple[int, ...]
) -> None:
    x = np.asarray(np.random.default_rng(1).uniform(low, high, shape), dtype=np.float32)
    before = x.copy()
    y = run(type, x)
    assert y.shape == shape
    np.testing.assert_allclose(y.numpy(), function(x.astype(np.float64)), rtol=3e-6, atol=3e-7)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize(
    ("type", "function"),
    [("inverse", lambda v: 1 / v), ("log", np.log), ("rsqrt", lambda v: 1 / np.sqrt(v))],
)
@pytest.mark.parametrize("epsilon", [0.0, 1e-3, 1.0])
def test_epsilon_is_added_before_the_function(type: str, function: Any, epsilon: float) -> None:
    x = np.array([[0.001, 0.5, 1], [2, 3, 4]], dtype=np.float32)
    expected = function(x.astype(np.float64) + epsilon)
    np.testing.assert_allclose(run(type, x, epsilon=epsilon).numpy(), expected, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("type", ["inverse", "log", "rsqrt"])
def test_epsilon_counts_though_it_is_too_small_for_float16(type: str) -> None:
    x = np.array([1.0, 0.00061], dtype=np.float16)
    exact = run(type, x.astype(np.float32), epsilon=3e-4)
    assert torch.equal(run(type, x, epsilon=3e-4).half(), exact.half())


def test_erf_of_float16_is_computed_in_float32_and_rounded_once() -> None:
    x = np.arange(2**16, dtype=np.uint16).view(np.float16)
    x = x[np.isfinite(x)]
    assert torch.equal(run("erf", x).half(), run("erf", x.astype(np.float32)).half())


def test_the_default_epsilons_keep_zero_finite() -> None:
    zero = np.zeros(1, np.float32)
    np.testing.assert_allclose(run("inverse", zero).item(), 1e4, rtol=1e-6)
    np.testing.assert_allclose(run("rsqrt", zero).item(), 1e6, rtol=1e-6)
    np.testing.assert_allclose(run("log", zero).item(), np.log(float(np.float32(1e-45))), rtol=1e-6)


@pytest.mark.parametrize(
    ("type", "arguments", "expected"),
    [
        ("abs", {}, [0, 5, 16777217, INT_MAX]),
        ("sign", {}, [0, -1, 1, 1]),
        ("threshold", {"alpha": 3}, [3, 3, 16777217, INT_MAX]),
        ("clip", {"alpha": -2.0, "beta": 16777219.0}, [0, -2, 16777217, 16777219]),
    ],
)
def test_integers_stay_exact(type: str, arguments: dict[str, Any], expected: list[int]) -> None:
    y = run(type, np.array([0, -5, 16777217, INT_MAX], dtype=np.int32), **arguments)
    assert y.dtype is torch.int32
    assert y.tolist() == expected


def test_the_square_of_integers_is_exact() -> None:
    assert run("square", np.array([-46340, 0, 46340, 12345], dtype=np.int32)).tolist() == [
        46340**2,
        0,
        46340**2,
        12345**2,
    ]


def test_exp2_of_integers_is_exact_and_truncates_fractions() -> None:
    x = np.arange(-3, 31, dtype=np.int32)
    assert run("exp2", x).tolist() == [0, 0, 0] + [2**n for n in range(31)]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_the_sign_of_nan_is_nan(dtype: Any) -> None:
    y = run("sign", np.array([np.nan, -np.inf, -0.0, np.inf], dtype=dtype))
    assert y[0].isnan()
    assert y[1:].tolist() == [-1, 0, 1]


def test_round_takes_halves_to_the_even_neighbour() -> None:
    x = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5, 0.4999999], dtype=np.float32)
    assert run("round", x).tolist() == [-2, -2, 0, 0, 2, 2, 4, 0]


@pytest.mark.parametrize(("alpha", "beta"), [(0.0, 5.0), (-1.5, 1.5), (-np.inf, 2.0), (3.0, 1.0)])
def test_clip_bounds_below_and_then_above(alpha: float, beta: float) -> None:
    x = np.array([[-1.2, 2, -3.4], [4.5, -np.inf, np.inf]], dtype=np.float32)
    y = run("clip", x, alpha=alpha, beta=beta)
    np.testing.assert_array_equal(y.numpy(), np.minimum(np.maximum(x, np.float32(alpha)), np.float32(beta)))


def test_threshold_is_a_lower_bound() -> None:
    x = np.array([-1.25, 2, 1, np.inf, np.nan], dtype=np.float32)
    np.testing.assert_array_equal(
        run("threshold", x, alpha=1.0).numpy(), np.array([1, 2, 1, np.inf, np.nan], np.float32)
    )


@pytest.mark.parametrize("type", ["clip", "threshold"])
def test_bounds_let_nan_through(type: str) -> None:
    arguments = {"alpha": -1.0, "beta": 1.0} if type == "clip" else {"alpha": -1.0}
    assert run(type, np.full(3, np.nan, np.float32), **arguments).isnan().all()


def test_logical_not_negates() -> None:
    assert run("logical_not", np.array([[True, False]])).tolist() == [[False, True]]


def test_identity_is_its_operand() -> None:
    found = find("identity", "iOS15")
    assert found is not None
    x = torch.ones(2)
    values = [x, x]
    assert found.run(x) is x
    assert found.run(values) is values


INTEGER_RANGES = {
    "int8": (-128, 127),
    "uint8": (0, 255),
    "int16": (-32768, 32767),
    "uint16": (0, 65535),
    "int32": (INT_MIN, INT_MAX),
}


@pytest.mark.parametrize("source", [np.float16, np.float32])
@pytest.mark.parametrize("dtype", INTEGER_RANGES)
def test_a_cast_to_integers_truncates_towards_zero_and_saturates(dtype: str, source: Any) -> None:
    low, high = INTEGER_RANGES[dtype]
    values = [
        -1e30,
        -40000.5,
        -200.75,
        -1.9,
        -0.5,
        0,
        0.9,
        1.5,
        99.99,
        300.5,
        40000,
        65503.0,
        3e9,
        np.inf,
        -np.inf,
        np.nan,
    ]
    with np.errstate(over="ignore"):
        x = np.array(values, dtype=source)
    exact = [0 if np.isnan(v) else min(max(v, low), high) for v in x.tolist()]
    y = run("cast", x, dtype=dtype)
    assert not y.is_floating_point()
    assert y.tolist() == [int(v) for v in exact]


def test_a_cast_to_int32_is_exact_up_to_its_bounds() -> None:
    x = np.array([16777216, 2147483520, 2147483648, -2147483648], np.float32)
    assert run("cast", x, dtype="int32").tolist() == [16777216, 2147483520, INT_MAX, INT_MIN]


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("int8", [0, -1, -128, 127, 0, 1]),
        ("uint8", [0, 255, 128, 127, 0, 1]),
        ("int16", [0, -1, 128, 127, 0, 1]),
        ("uint16", [0, 65535, 128, 127, 0, 1]),
        ("int32", [0, -1, 128, 127, 65536, 65537]),
    ],
)
def test_a_cast_between_integers_keeps_the_low_bits(dtype: str, expected: list[int]) -> None:
    x = np.array([0, -1, 128, 127, 65536, 65537], dtype=np.int32)
    assert run("cast", x, dtype=dtype).tolist() == expected


@pytest.mark.parametrize("dtype", INTEGER_RANGES)
def test_a_cast_of_booleans_gives_zeros_and_ones(dtype: str) -> None:
    assert run("cast", np.array([True, False]), dtype=dtype).tolist() == [1, 0]


@pytest.mark.parametrize("source", [np.float16, np.float32, np.int32, np.int8, np.uint8, np.bool_])
def test_a_cast_to_bool_asks_whether_a_value_is_not_zero(source: Any) -> None:
    x = np.array([0, 1, 0, 5]).astype(source)
    assert run("cast", x, dtype="bool").tolist() == [False, True, False, True]


def test_a_cast_to_bool_takes_fractions_and_nan_for_true() -> None:
    assert run("cast", np.array([0.25, np.nan, -0.0], np.float32), dtype="bool").tolist() == [True, True, False]


@pytest.mark.parametrize("dtype", ["fp16", "fp32"])
def test_a_cast_to_floats_leaves_floats_as_they_are(dtype: str) -> None:
    x = torch.tensor([0.1, 65520.0])
    assert run("cast", x, dtype=dtype) is x


@pytest.mark.parametrize("dtype", ["fp16", "fp32"])
@pytest.mark.parametrize("source", [np.int32, np.int16, np.uint8, np.bool_])
def test_a_cast_of_integers_to_floats_gives_floats(dtype: str, source: Any) -> None:
    y = run("cast", np.array([0, 1, 100]).astype(source), dtype=dtype)
    assert y.is_floating_point()
    assert y.tolist() == np.array([0, 1, 100]).astype(source).astype(float).tolist()


def test_a_cast_rejects_an_unknown_dtype() -> None:
    with pytest.raises(ValueError, match=r"cast: dtype is 'int4', .*bool.*fp16.*int32"):
        run("cast", np.zeros(1, np.float32), dtype="int4")
