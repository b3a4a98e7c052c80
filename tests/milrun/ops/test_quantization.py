"""Quantization against its formula in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import milrun.ops  # noqa: F401 (registers the ops)
from milrun.registry import find
from tests.support.covering import pairs

RNG = np.random.default_rng(15)


def run(op: str, **arguments: Any) -> np.ndarray:
    found = find(op, "iOS17")
    assert found is not None
    arrays = (np.ndarray, np.generic)
    tensors = {k: torch.from_numpy(np.asarray(v)) if isinstance(v, arrays) else v for k, v in arguments.items()}
    result: np.ndarray = found.run(**tensors).numpy()
    return result


def spread(values: np.ndarray, rank: int, axis: int | None) -> np.ndarray:
    if values.ndim == 0:
        return values
    assert axis is not None
    return np.moveaxis(values.reshape(-1, *[1] * (rank - 1)), 0, axis)


@pairs(
    {
        "dtype": [np.int8, np.uint8],
        "with_zero_point": [False, True],
        "shape, axis": [((6,), None), ((6,), 0), ((2, 3, 4), 1), ((2, 3, 4), -1), ((2, 1, 3, 2, 2), -5), ((0, 3), 1)],
    }
)
def test_quantize_divides_rounds_shifts_and_saturates(
    dtype: type, with_zero_point: bool, shape: tuple[int, ...], axis: int | None
) -> None:
    x = (RNG.standard_normal(shape) * 90).astype(np.float32)
    count = () if axis is None else (shape[axis],)
    scale = (RNG.random(count) + 0.5).astype(np.float32)
    limits = np.iinfo(dtype)
    zero_point = RNG.integers(limits.min, limits.max, count, dtype=dtype) if with_zero_point else None
    got = run(
        "quantize", input=x, scale=np.asarray(scale), zero_point=zero_point, axis=axis, output_dtype=dtype.__name__
    )
    rank = len(shape)
    steps = np.rint((x / spread(np.asarray(scale), rank, axis)).astype(np.float64))
    if zero_point is not None:
        steps += spread(np.asarray(zero_point), rank, axis)
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, np.clip(steps, limits.min, limits.max))


def test_quantize_rounds_halves_to_even_and_saturates_at_both_ends() -> None:
    x = np.array([-1000, -2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 1000], np.float32)
    one = np.float32(1)
    np.testing.assert_array_equal(
        run("quantize", input=x, scale=one, output_dtype="int8"), [-128, -2, -2, 0, 0, 2, 2, 127]
    )
    np.testing.assert_array_equal(
        run("quantize", input=x, scale=one, zero_point=np.uint8(10), output_dtype="uint8"),
        [0, 8, 8, 10, 10, 12, 12, 255],
    )


@pairs(
    {
        "dtype": [np.int8, np.uint8],
        "with_zero_point": [False, True],
        "shape, axis": [((6,), None), ((2, 3, 4), 1), ((2, 3, 4), -1), ((3, 0), 0)],
    }
)
def test_dequantize_scales_the_distance_from_the_zero_point(
    dtype: type, with_zero_point: bool, shape: tuple[int, ...], axis: int | None
) -> None:
    limits = np.iinfo(dtype)
    x = RNG.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
    count = () if axis is None else (shape[axis],)
    scale = np.asarray((RNG.random(count) + 0.5).astype(np.float32))
    # The extreme zero point: a difference taken in eight bits would wrap around.
    zero_point = np.full(count, limits.max, dtype) if with_zero_point else None
    got = run("dequantize", input=x, scale=scale, zero_point=zero_point, axis=axis)
    distance = x.astype(np.float64) - (limits.max if with_zero_point else 0)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, distance * spread(scale, len(shape), axis), rtol=1e-6)


def test_quantize_gives_the_values_of_the_formats_own_tests() -> None:
    x = np.array([1, 2, 3, 4], np.float32).reshape(1, 1, 2, 2)
    got = run(
        "quantize", input=x, zero_point=np.array([2, 4], np.int8), scale=np.array([1, 2], np.float32), axis=3,
        output_dtype="int8",
    )  # fmt: skip
    np.testing.assert_array_equal(got.ravel(), [3, 5, 5, 6])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"output_dtype": "int4"}, "quantize: output_dtype 'int4' is not one of 'int8', 'uint8'"),
        (
            {"scale": np.ones(2, np.float32), "axis": 1},
            r"quantize: scale of shape \(2,\) is neither a scalar nor \(3,\)",
        ),
        ({"scale": np.ones(3, np.float32)}, "quantize: axis None is not within the rank 2"),
        ({"scale": np.ones(3, np.float32), "axis": 2}, "quantize: axis 2 is not within the rank 2"),
        ({"zero_point": np.ones((3, 1), np.int8), "axis": 1}, r"quantize: zero_point of shape \(3, 1\)"),
    ],
)
def test_quantize_refuses_arguments_that_do_not_fit(arguments: dict[str, Any], message: str) -> None:
    fitting = {"input": np.ones((2, 3), np.float32), "scale": np.float32(1), "output_dtype": "int8"}
    with pytest.raises(ValueError, match=message):
        run("quantize", **fitting | arguments)
