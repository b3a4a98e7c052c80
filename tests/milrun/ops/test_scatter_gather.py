"""Gathering and scattering against loops in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from milrun.registry import find, preparers

import milrun.ops  # noqa: F401 isort: skip (registers the ops)
from tests.support.covering import each, pairs

INDEX_DTYPES = [np.int32, np.int8, np.int64]


def run(op: str, *, opset: str = "iOS15", **arguments: Any) -> np.ndarray:
    definition = find(op, opset)
    assert definition is not None
    arguments = {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in arguments.items()}
    return definition.run(**arguments).numpy()


def counting(shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
    return np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)


def some(low: int, high: int, shape: tuple[int, ...], dtype: Any = np.int32) -> np.ndarray:
    return np.asarray(np.random.default_rng(6).integers(low, high, shape)).astype(dtype)


@pairs(
    {
        "dtype": [np.float32, np.float16, np.int32, np.uint8, np.bool_],
        "index_dtype": INDEX_DTYPES,
        "shape, axis": [((5,), 0), ((5, 2), 0), ((2, 5), -1), ((2, 5, 3), 1), ((1, 2, 2, 5, 2), -2)],
        "index_shape": [(), (3,), (2, 3), (0,), (1, 2, 2)],
    }
)
def test_gather_takes_slices_of_an_axis(
    dtype: Any, index_dtype: Any, shape: tuple[int, ...], axis: int, index_shape: tuple[int, ...]
) -> None:
    x, indices = counting(shape, dtype), some(-5, 5, index_shape, index_dtype)
    np.testing.assert_array_equal(
        run("gather", x=x, indices=indices, axis=axis), np.take(x, indices, axis), strict=True
    )


@pytest.mark.parametrize(
    ("shape", "index_shape", "axis", "batch_dims"),
    [((2, 2, 3), (2, 2, 2), 1, 1), ((2, 2, 3), (2, 2, 2), 2, 1), ((2, 2, 3), (2, 2, 2), 2, 2), ((3, 4), (3,), 1, 1),
     ((2, 3, 2, 5, 2), (2, 3, 4), 3, 2), ((2, 3, 2, 5, 2), (2, 4), -2, 1), ((2, 5, 3), (2, 0), 1, 1)],
)  # fmt: skip
def test_gather_pairs_batches_of_the_input_with_batches_of_indices(
    shape: tuple[int, ...], index_shape: tuple[int, ...], axis: int, batch_dims: int
) -> None:
    x, indices = counting(shape), some(-shape[axis], shape[axis], index_shape)
    expected = np.empty(shape[: axis % len(shape)] + index_shape[batch_dims:] + shape[axis % len(shape) + 1 :], "f4")
    for batch in np.ndindex(*shape[:batch_dims]):
        expected[batch] = np.take(x[batch], indices[batch], axis % len(shape) - batch_dims)
    got = run("gather", opset="iOS16", x=x, indices=indices, axis=axis, batch_dims=batch_dims)
    np.testing.assert_array_equal(got, expected, strict=True)


@pytest.mark.parametrize("indices", [np.array(1), np.array(-1), np.array([2, 0]), np.array([[0], [2]]), np.array([-1])])
@pytest.mark.parametrize("axis", [0, -1])
def test_constant_indices_prepare_a_kernel_that_gathers_the_same(indices: np.ndarray, axis: int) -> None:
    preparer = preparers("gather")[0]
    assert preparer is not None
    kernel = preparer(indices=torch.from_numpy(indices), axis=axis)
    x = counting((3, 4, 3))
    assert (kernel is None) == (indices.ndim > 0 and indices.min() < 0)
    if kernel is not None:
        np.testing.assert_array_equal(kernel(x=torch.from_numpy(x)).numpy(), np.take(x, indices, axis), strict=True)


def test_constant_indices_that_need_checking_prepare_nothing() -> None:
    preparer = preparers("gather")[0]
    assert preparer is not None
    assert preparer(indices=torch.tensor(-1), validate_indices=True) is None
    assert preparer(indices=torch.tensor([0]), batch_dims=1) is None


@pairs(
    {
        "dtype": [np.float32, np.float16, np.int32, np.uint8],
        "index_dtype": INDEX_DTYPES,
        "shape, axis, length": [((5,), 0, 7), ((3, 4), 1, 2), ((3, 4), -2, 5), ((1, 2, 3, 2, 2), 2, 4), ((2, 3), 0, 0)],
    }
)
def test_gather_along_axis_takes_single_elements(
    dtype: Any, index_dtype: Any, shape: tuple[int, ...], axis: int, length: int
) -> None:
    index_shape = list(shape)
    index_shape[axis] = length
    x, indices = counting(shape, dtype), some(-shape[axis], shape[axis], tuple(index_shape), index_dtype)
    got = run("gather_along_axis", x=x, indices=indices, axis=axis)
    np.testing.assert_array_equal(got, np.take_along_axis(x, indices.astype(np.int64), axis), strict=True)


@each(
    {
        "index_dtype": INDEX_DTYPES,
        "shape, index_shape, batch_dims": [
            ((2, 3), (4, 2), 0),
            ((2, 3), (4, 1), 0),
            ((2, 2, 3), (2, 2), 0),
            ((2, 2, 3), (2, 2), 1),
            ((2, 3, 4, 2), (2, 3, 5, 1), 2),
            ((2, 3, 4, 2), (2, 5, 3, 2), 1),
            ((4,), (1,), 0),
            ((2, 3), (2, 0), 0),
            ((2, 2, 2, 2, 2), (3, 5), 0),
        ],
    }
)
def test_gather_nd_takes_what_index_tuples_name(
    index_dtype: Any, shape: tuple[int, ...], index_shape: tuple[int, ...], batch_dims: int
) -> None:
    x = counting(shape)
    depth = index_shape[-1]
    sizes = np.array(shape[batch_dims : batch_dims + depth], dtype=int)
    indices = np.random.default_rng(7).integers(-sizes, sizes, index_shape).astype(index_dtype)
    expected = np.empty(index_shape[:-1] + shape[batch_dims + depth :], np.float32)
    for place in np.ndindex(*index_shape[:-1]):
        expected[place] = x[place[:batch_dims]][tuple(indices[place])]
    got = run("gather_nd", opset="iOS16", x=x, indices=indices, batch_dims=batch_dims)
    np.testing.assert_array_equal(got, expected, strict=True)


COMBINE: dict[str, Any] = {
    "update": lambda old, new: new,
    "add": lambda old, new: old + new,
    "sub": lambda old, new: old - new,
    "mul": lambda old, new: old * new,
    "div": lambda old, new: old / new,
    "max": np.maximum,
    "min": np.minimum,
}


def operands(shape: tuple[int, ...], updates_shape: tuple[int, ...], dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(8)
    if np.issubdtype(dtype, np.integer):
        return rng.integers(-99, 99, shape).astype(dtype), rng.integers(1, 4, updates_shape).astype(dtype)
    return rng.normal(size=shape).astype(dtype), rng.uniform(0.5, 2, updates_shape).astype(dtype)


def check(got: np.ndarray, expected: np.ndarray, dtype: Any) -> None:
    assert got.dtype == dtype
    if np.issubdtype(dtype, np.integer):
        np.testing.assert_array_equal(got, np.trunc(expected))
    else:
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pairs(
    {
        "dtype": [np.float32, np.int32],
        "mode": COMBINE,
        "shape, index_shape, axis": [
            ((4,), (6,), 0),
            ((3, 4), (5,), 1),
            ((4, 2, 3), (2, 3), -3),
            ((2, 2, 3, 2, 2), (4,), 2),
            ((3,), (0,), 0),
        ],
    }
)
def test_scatter_combines_slices_in_order(
    dtype: Any, mode: str, shape: tuple[int, ...], index_shape: tuple[int, ...], axis: int
) -> None:
    axis %= len(shape)
    indices = some(-shape[axis], shape[axis], index_shape)
    data, updates = operands(shape, shape[:axis] + index_shape + shape[axis + 1 :], dtype)
    original = data.copy()
    expected = np.moveaxis(data.astype(np.float64), axis, 0).copy()
    slices = np.moveaxis(updates.reshape(*shape[:axis], indices.size, *shape[axis + 1 :]), axis, 0)
    for index, update in zip(indices.reshape(-1), slices, strict=True):
        expected[index] = COMBINE[mode](expected[index], update)
    check(run("scatter", data=data, indices=indices, updates=updates, axis=axis - len(shape), mode=mode),
          np.moveaxis(expected, 0, axis), dtype)  # fmt: skip
    np.testing.assert_array_equal(data, original)


@pairs(
    {
        "dtype": [np.float32, np.int32],
        "mode": COMBINE,
        "shape, axis, length": [((4,), 0, 6), ((3, 4), -1, 5), ((3, 4), 0, 2), ((2, 1, 3, 2, 2), 2, 4)],
    }
)
def test_scatter_along_axis_combines_elements_in_order(
    dtype: Any, mode: str, shape: tuple[int, ...], axis: int, length: int
) -> None:
    index_shape = list(shape)
    index_shape[axis] = length
    indices = some(-shape[axis], shape[axis], tuple(index_shape))
    data, updates = operands(shape, tuple(index_shape), dtype)
    expected = data.astype(np.float64)
    for place in np.ndindex(*index_shape):
        target = list(place)
        target[axis] = indices[place]
        expected[tuple(target)] = COMBINE[mode](expected[tuple(target)], updates[place])
    check(run("scatter_along_axis", data=data, indices=indices, updates=updates, axis=axis, mode=mode), expected, dtype)


@pairs(
    {
        "dtype": [np.float32, np.int32],
        "mode": COMBINE,
        "shape, index_shape": [
            ((2, 3), (7, 2)),
            ((3, 2), (2, 3, 1)),
            ((2, 2, 2, 2, 3), (4, 3)),
            ((3,), (5, 1)),
            ((2, 2), (3, 0)),
        ],
    }
)
def test_scatter_nd_combines_what_index_tuples_name(
    dtype: Any, mode: str, shape: tuple[int, ...], index_shape: tuple[int, ...]
) -> None:
    sizes = np.array(shape[: index_shape[-1]], dtype=int)
    indices = np.random.default_rng(9).integers(-sizes, sizes, index_shape).astype(np.int32)
    data, updates = operands(shape, index_shape[:-1] + shape[index_shape[-1] :], dtype)
    expected = data.astype(np.float64)
    for place in np.ndindex(*index_shape[:-1]):
        target = tuple(indices[place])
        expected[target] = COMBINE[mode](expected[target], updates[place])
    check(run("scatter_nd", data=data, indices=indices, updates=updates, mode=mode), expected, dtype)


def test_scattering_adds_unless_told_otherwise() -> None:
    data, rows = counting((2, 3)) + 1, np.array([[5, 6, 7], [8, 9, 10]], np.float32)
    got = run("scatter", data=data, indices=np.array([1, 0]), updates=rows)
    np.testing.assert_array_equal(got, [[9, 11, 13], [9, 11, 13]])
    got = run("scatter_nd", data=data, indices=np.array([[1, 0], [0, 2]]), updates=np.array([5, 10], np.float32))
    np.testing.assert_array_equal(got, [[1, 2, 13], [9, 5, 6]])
    indices = np.array([[1, 0, 1], [1, 1, 0]])
    got = run("scatter_along_axis", data=data, indices=indices, updates=rows)
    np.testing.assert_array_equal(got, [[1, 8, 13], [17, 14, 13]])


def test_the_last_of_many_updates_of_one_element_stays() -> None:
    indices = some(0, 4, (100_000,))
    got = run("scatter", data=np.zeros(4, "f4"), indices=indices, updates=counting((100_000,)), mode="update")
    assert got.tolist() == [int(np.flatnonzero(indices == i)[-1]) for i in range(4)]


X = counting((2, 3))
CALLS: list[tuple[str, str, dict[str, Any]]] = [
    ("gather", "x", {"axis": 1}),
    ("gather_along_axis", "x", {"axis": 1}),
    ("gather_nd", "x", {}),
    ("scatter", "data", {"axis": 1, "updates": np.zeros((2, 2), "f4")}),
    ("scatter_along_axis", "data", {"axis": 1, "updates": np.zeros((2, 2), "f4")}),
    ("scatter_nd", "data", {"updates": np.zeros(2, "f4")}),
]


def outside(op: str, wrong: int) -> np.ndarray:
    indices = {"gather": [0, wrong], "scatter": [0, wrong]}.get(op, [[0, 1], [0, wrong]])
    return np.array(indices, np.int32)


@pairs(
    {
        "op, name, arguments": CALLS,
        "wrong": [3, -4, 2**31 - 1, -(2**31)],
        "validate": [False, True],
    }
)
def test_an_index_outside_the_axis_is_an_error(
    op: str, name: str, arguments: dict[str, Any], wrong: int, validate: bool
) -> None:
    with pytest.raises(ValueError, match=f"{op}: index {wrong} is out of range for an axis of 3"):
        run(op, opset="iOS17", indices=outside(op, wrong), validate_indices=validate, **{name: X}, **arguments)


@pytest.mark.parametrize(("op", "name", "arguments"), CALLS)
def test_a_negative_index_is_an_error_only_if_indices_are_validated(
    op: str, name: str, arguments: dict[str, Any]
) -> None:
    call = {"opset": "iOS17", "indices": outside(op, -1), name: X, **arguments}
    assert run(op, **call).size
    with pytest.raises(ValueError, match="index -1"):
        run(op, **call, validate_indices=True)


def test_each_part_of_an_index_tuple_is_checked_against_its_own_axis() -> None:
    for op, arguments in (("gather_nd", {"x": X}), ("scatter_nd", {"data": X, "updates": np.zeros(1, "f4")})):
        with pytest.raises(ValueError, match="index 3"):
            run(op, indices=np.array([[0, 3]]), **arguments)


@pytest.mark.parametrize(
    ("op", "arguments"),
    [("scatter", {"indices": np.array([0]), "updates": np.zeros((1, 2), "f4")}),
     ("scatter_along_axis", {"indices": np.array([[0, 0]]), "updates": np.zeros((1, 2), "f4")}),
     ("scatter_along_axis", {"indices": np.array([[0, 0, 0]]), "updates": np.zeros((1, 2), "f4")}),
     ("scatter_nd", {"indices": np.array([[0]]), "updates": np.zeros((1, 1), "f4")}),
     ("scatter", {"indices": np.array([0]), "updates": np.zeros((1, 3), "f4"), "mode": "max_pool"})],
)  # fmt: skip
def test_scattering_refuses_shapes_and_modes_outside_the_specification(op: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=op):
        run(op, data=X, **arguments)
