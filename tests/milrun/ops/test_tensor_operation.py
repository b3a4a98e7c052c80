"""Making, joining, splitting and padding tensors, against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from milrun.registry import find

import milrun.ops  # noqa: F401 isort: skip (registers the ops)
from tests.support.covering import each, pairs

DTYPES = [np.float32, np.float16, np.int32, np.int8, np.bool_]


def run(op: str, *, opset: str = "iOS15", **arguments: Any) -> Any:
    definition = find(op, opset)
    assert definition is not None
    arguments = {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in arguments.items()}
    result = definition.run(**arguments)
    return tuple(y.numpy() for y in result) if isinstance(result, tuple) else result.numpy()


def values(shape: tuple[int, ...], dtype: Any = np.float32, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(-9, 9, shape).astype(dtype)


@pairs(
    {
        "dtype": [np.float32, np.float16, np.int32, np.bool_],
        "shape": [(4, 4), (3, 5), (2, 1, 5, 3), (0, 3)],
        "lower, upper": [(-1, -1), (0, -1), (-1, 0), (0, 0), (1, 2), (2, 1), (9, 0), (-3, -7)],
    }
)
def test_band_part_keeps_the_diagonals_of_the_band(dtype: Any, shape: tuple[int, ...], lower: int, upper: int) -> None:
    x = values(shape, dtype)
    m, n = np.indices(shape[-2:])
    band = ((lower < 0) | (m - n <= lower)) & ((upper < 0) | (n - m <= upper))
    y = run("band_part", x=x, lower=lower, upper=upper)
    assert y.dtype == x.dtype
    np.testing.assert_array_equal(y, np.where(band, x, np.zeros((), dtype)))


def test_band_part_zeroes_what_is_not_finite_outside_the_band() -> None:
    x = np.full((2, 2), np.nan, np.float32)
    np.testing.assert_array_equal(run("band_part", x=x, lower=0, upper=0), [[np.nan, 0], [0, np.nan]])


@pairs(
    {
        "dtype": [np.float32, np.int32],
        "shape, axis": [((5,), 0), ((2, 3), 1), ((2, 3), -1), ((1, 2, 3, 2, 4), 3), ((2, 0), 1)],
        "exclusive": [False, True],
        "reverse": [False, True],
    }
)
def test_cumsum_adds_up_along_an_axis(
    dtype: Any, shape: tuple[int, ...], axis: int, exclusive: bool, reverse: bool
) -> None:
    x = values(shape, dtype)
    expected = np.zeros(shape)
    size = shape[axis]
    for i in range(size):
        taken = range(i + 1 if exclusive else i, size) if reverse else range(0, i if exclusive else i + 1)
        np.moveaxis(expected, axis, 0)[i] = np.moveaxis(x.astype(np.float64), axis, 0)[list(taken)].sum(0)
    np.testing.assert_array_equal(run("cumsum", x=x, axis=axis, exclusive=exclusive, reverse=reverse), expected)


def test_cumsum_of_integers_is_exact_where_floats_are_not() -> None:
    x = np.array([2**30, 1, 2**29, 3], np.int32)
    np.testing.assert_array_equal(run("cumsum", x=x), np.cumsum(x.astype(np.int64)))


@each(
    {
        "shape": [[], [3], [2, 1, 3, 1, 2], [2, 0]],
        "value": [np.float32(1.5), np.float16(-7), np.int32(2**31 - 1), np.bool_(True)],
    }
)
def test_fill_has_the_shape_the_value_and_its_type(shape: list[int], value: Any) -> None:
    for y in (
        run("fill", shape=shape, value=np.asarray(value)),
        run("fill_like", opset="iOS16", ref_tensor=np.zeros(shape, np.int8), value=np.asarray(value)),
    ):
        assert y.dtype == value.dtype
        np.testing.assert_array_equal(y, np.full(shape, value))


def test_fill_defaults_to_floating_point_zeros() -> None:
    for y in (run("fill", shape=[2, 3]), run("fill_like", ref_tensor=np.ones((2, 3), np.int32))):
        assert y.dtype == np.float32
        np.testing.assert_array_equal(y, np.zeros((2, 3)))


@each(
    {
        "dtype": DTYPES,
        "shape": [(7,), (6, 1, 7), (2, 2, 2, 2, 2), (0, 3)],
    }
)
def test_non_zero_lists_the_indices_in_row_major_order(dtype: Any, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(1).integers(0, 2, shape).astype(dtype)
    np.testing.assert_array_equal(run("non_zero", x=x), np.argwhere(x))


@each(
    {
        "shape, axis": [((2,), -1), ((2,), 0), ((3, 4), 1), ((3, 4), -3), ((3, 4), -2), ((), -1)],
        "on, off": [(np.float32(1), np.float32(0.25)), (np.int32(5), np.int32(-2))],
    }
)
def test_one_hot_puts_the_classes_on_the_new_axis(shape: tuple[int, ...], axis: int, on: Any, off: Any) -> None:
    indices = np.random.default_rng(2).integers(0, 5, shape).astype(np.int32)
    expected = np.moveaxis(np.where(np.arange(5) == np.asarray(indices)[..., None], on, off), -1, axis)
    y = run(
        "one_hot",
        indices=np.asarray(indices),
        one_hot_vector_size=5,
        axis=axis,
        on_value=np.asarray(on),
        off_value=np.asarray(off),
    )
    assert y.dtype == on.dtype
    np.testing.assert_array_equal(y, expected)


def test_one_hot_defaults_to_integers_and_leaves_foreign_indices_off() -> None:
    y = run("one_hot", indices=np.array([1, 4, -1], np.int32), one_hot_vector_size=3)
    assert y.dtype == np.int32
    np.testing.assert_array_equal(y, [[0, 1, 0], [0, 0, 0], [0, 0, 0]])


PADS = [
    ((2, 3), [1, 1, 2, 2]),
    ((2, 3), [2, 1]),
    ((3,), [0, 2]),
    ((2, 3, 4), [0, 0, 1, 2, 3, 0]),
    ((2, 1, 3, 4), [0, 0, 0, 0, 1, 2, 2, 3]),
    ((2, 3, 3, 3, 4), [1, 0, 2, 2, 0, 1, 0, 0, 3, 1]),
    ((2, 3, 3, 3, 4), [0, 2, 1, 0, 0, 0]),
    ((2, 2), []),
    ((2, 2), [0, 0, 0, 0]),
]


@pairs(
    {
        "dtype": DTYPES,
        "mode, numpy_mode": [("constant", "constant"), ("reflect", "reflect"), ("replicate", "edge")],
        "shape, pad": PADS,
    }
)
def test_pad_extends_the_last_axes(
    dtype: Any, mode: str, numpy_mode: Any, shape: tuple[int, ...], pad: list[int]
) -> None:
    x = values(shape, dtype)
    amounts = [(0, 0)] * (len(shape) - len(pad) // 2) + list(zip(pad[::2], pad[1::2], strict=True))
    y = run("pad", x=x, pad=pad, mode=mode)
    assert y.dtype == x.dtype
    np.testing.assert_array_equal(y, np.pad(x, amounts, mode=numpy_mode))


@pytest.mark.parametrize(("dtype", "value"), [(np.float32, -np.inf), (np.float16, 0.5), (np.int32, 2**31 - 1)])
def test_pad_fills_with_the_constant(dtype: Any, value: float) -> None:
    x = values((2, 3), dtype)
    y = run("pad", x=x, pad=[1, 0, 0, 2], constant_val=value)
    np.testing.assert_array_equal(y, np.pad(x, [(1, 0), (0, 2)], constant_values=value))


def test_pad_makes_elements_of_an_empty_tensor() -> None:
    np.testing.assert_array_equal(run("pad", x=np.zeros((0, 2), np.float32), pad=[1, 1, 0, 0]), np.zeros((2, 2)))


@pytest.mark.parametrize(
    ("pad", "mode", "match"),
    [([0, 1], "wrap", "constant, reflect, replicate"), ([-1, 0], "constant", "pad is"), ([1], "constant", "pad is"),
     ([3, 0], "reflect", "reflect"), ([0, 0] * 3, "constant", "pad is")],
)  # fmt: skip
def test_pad_refuses_what_the_specification_does_not_allow(pad: list[int], mode: str, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        run("pad", x=np.zeros((2, 3), np.float32), pad=pad, mode=mode)


@pytest.mark.parametrize(
    ("start", "end", "step"),
    [(5, 15, 2), (5, 15, 3), (5, 5, 1), (5, 4, 1), (10, 0, -3), (0, -7, -7), (2**30, 2**30 + 3, 1)],
)
def test_range_1d_of_integers_is_exact(start: int, end: int, step: int) -> None:
    y = run("range_1d", **{k: np.asarray(v, np.int32) for k, v in (("start", start), ("end", end), ("step", step))})
    assert y.dtype == np.int32
    np.testing.assert_array_equal(y, np.arange(start, end, step))


@pytest.mark.parametrize(
    ("start", "end", "step", "count"),
    [(0, 1, 0.1, 10), (0, 0.6, 0.1, 6), (5, 15, 2, 5), (1, 0, -0.25, 4), (0.5, 0.25, 1, 0), (-1, 1, 0.3, 7)],
)
def test_range_1d_of_floats_counts_in_their_own_type(start: float, end: float, step: float, count: int) -> None:
    arguments = {k: np.asarray(v, np.float32) for k, v in (("start", start), ("end", end), ("step", step))}
    expected = np.arange(count) * np.float64(arguments["step"]) + np.float64(arguments["start"])
    np.testing.assert_array_equal(run("range_1d", **arguments), expected.astype(np.float32))


def test_range_1d_refuses_a_step_of_zero() -> None:
    with pytest.raises(ValueError, match="step"):
        run("range_1d", **dict.fromkeys(("start", "end", "step"), np.asarray(0, np.int32)))


@each(
    {
        "dtype": DTYPES,
        "shape, reps": [
            ((2, 3), [1, 1]),
            ((2, 3), [2, 3]),
            ((1, 3, 1), [4, 1, 2]),
            ((1, 2, 1, 1, 2), [2] * 5),
            ((), []),
        ],
    }
)
def test_tile_repeats_every_axis(dtype: Any, shape: tuple[int, ...], reps: list[int]) -> None:
    x = np.asarray(values(shape, dtype))
    y = run("tile", x=x, reps=reps)
    assert y.dtype == x.dtype
    np.testing.assert_array_equal(y, np.tile(x, reps))


def test_tile_refuses_reps_of_another_rank() -> None:
    with pytest.raises(ValueError, match="reps"):
        run("tile", x=np.zeros((2, 3), np.float32), reps=[2])


@pytest.mark.parametrize(
    ("shape", "axis", "expected"),
    [((3,), -1, (1, 3)), ((3,), 1, (3, 1)), ((4, 3), -1, (4, 3)), ((2, 3, 2), -1, (6, 2)), ((5, 5, 2), 1, (5, 10)),
     ((2, 3), 0, (1, 6)), ((2, 1, 3, 1, 2), -5, (1, 12)), ((0, 3), 1, (0, 3))],
)  # fmt: skip
def test_flatten2d_splits_the_axes_in_two(shape: tuple[int, ...], axis: int, expected: tuple[int, int]) -> None:
    x = values(shape)
    np.testing.assert_array_equal(run("flatten2d", x=x, axis=axis), x.reshape(expected))


@pytest.mark.parametrize("size", [(), (0, 3), (1, 2, 3, 4, 5)])
def test_shape_gives_the_sizes(size: tuple[int, ...]) -> None:
    y = run("shape", x=np.zeros(size, np.float16))
    assert y.dtype == np.int32
    assert y.tolist() == list(size)


@each(
    {
        "dtype": DTYPES,
        "rank, axis": [(1, 0), (2, -1), (3, 1), (5, -5), (5, 4)],
    }
)
def test_concat_joins_values_of_different_lengths(dtype: Any, rank: int, axis: int) -> None:
    parts = []
    for seed, length in enumerate((2, 1, 0, 3)):
        shape = [2] * rank
        shape[axis] = length
        parts.append(values(tuple(shape), dtype, seed))
    y = run("concat", values=[torch.from_numpy(part) for part in parts], axis=axis)
    np.testing.assert_array_equal(y, np.concatenate(parts, axis))


@pairs(
    {
        "shape, axis": [((3,), 0), ((3, 2), 0), ((2, 3), -1), ((1, 2, 3, 2, 2), 2)],
        "count": [1, 2, 3],
    }
)
def test_concat_interleaves_values_along_the_axis(shape: tuple[int, ...], axis: int, count: int) -> None:
    parts = [values(shape, seed=seed) for seed in range(count)]
    y = run("concat", values=[torch.from_numpy(part) for part in parts], axis=axis, interleave=True)
    for i, part in enumerate(parts):
        np.testing.assert_array_equal(np.moveaxis(y, axis, 0)[i::count], np.moveaxis(part, axis, 0))
    assert y.size == sum(part.size for part in parts)


def test_concat_of_scalars_is_a_vector() -> None:
    assert run("concat", values=[torch.tensor(3), torch.tensor(5)], axis=0).tolist() == [3, 5]


@pytest.mark.parametrize(
    ("arguments", "sizes"),
    [({"num_splits": 3}, [2, 2, 2]), ({"num_splits": 1}, [6]), ({"split_sizes": [1, 0, 5]}, [1, 0, 5]),
     ({"num_splits": 2, "split_sizes": [4, 2]}, [4, 2])],
)  # fmt: skip
@pytest.mark.parametrize("axis", [1, -2])
def test_split_cuts_the_axis_into_pieces(arguments: dict[str, Any], sizes: list[int], axis: int) -> None:
    x = values((2, 6, 3), np.int32)
    pieces = run("split", x=x, axis=axis, **arguments)
    assert [piece.shape[1] for piece in pieces] == sizes
    np.testing.assert_array_equal(np.concatenate(pieces, 1), x)


@pytest.mark.parametrize("arguments", [{}, {"num_splits": 4}, {"split_sizes": [1, 2]}, {"split_sizes": [7, -1]}])
def test_split_refuses_sizes_that_do_not_add_up(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="split"):
        run("split", x=np.zeros(6, np.float32), axis=0, **arguments)


@pytest.mark.parametrize(("shape", "axis"), [((), 0), ((2, 3), 0), ((2, 3), 2), ((2, 3), -1), ((1, 2, 1, 2), 3)])
def test_stack_makes_a_new_axis(shape: tuple[int, ...], axis: int) -> None:
    parts = [np.asarray(values(shape, np.float16, seed)) for seed in range(3)]
    y = run("stack", values=[torch.from_numpy(part) for part in parts], axis=axis)
    assert y.dtype == np.float16
    np.testing.assert_array_equal(y, np.stack(parts, axis))
