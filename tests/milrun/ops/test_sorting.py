"""argsort and topk against a stable sort in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from milrun.registry import find

import milrun.ops  # noqa: F401 isort: skip (registers the ops)
from tests.support.covering import pairs

SHAPES = [((7,), -1), ((2, 3), 0), ((2, 5), 1), ((1, 2, 3, 2, 4), -2), ((300,), 0)]


def run(op: str, *, opset: str = "iOS17", **arguments: Any) -> Any:
    definition = find(op, opset)
    assert definition is not None
    arguments = {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in arguments.items()}
    result = definition.run(**arguments)
    return tuple(y.numpy() for y in result) if isinstance(result, tuple) else result.numpy()


def stable_order(x: np.ndarray, axis: int, ascending: bool) -> np.ndarray:
    keys = x.astype(np.float64)
    return np.argsort(keys if ascending else -keys, axis=axis, kind="stable")


def distinct(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    return np.random.default_rng(3).permutation(int(np.prod(shape))).reshape(shape).astype(dtype)


def with_ties(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    return np.random.default_rng(4).integers(0, 3, shape).astype(dtype)


@pairs(
    {
        "dtype": [np.float32, np.float16, np.int32],
        "shape, axis": SHAPES,
        "ascending": [False, True],
        "make": [distinct, with_ties],
    }
)
def test_argsort_keeps_equal_values_in_order(
    dtype: Any, shape: tuple[int, ...], axis: int, ascending: bool, make: Any
) -> None:
    x = make(shape, dtype)
    np.testing.assert_array_equal(run("argsort", x=x, axis=axis, ascending=ascending), stable_order(x, axis, ascending))


def test_argsort_defaults_to_the_last_axis_in_descending_order() -> None:
    x = np.array([[-1.0, 2.0, -3.0], [4.0, -5.0, 6.0]], np.float32)
    np.testing.assert_array_equal(run("argsort", x=x, opset="iOS15"), [[1, 0, 2], [2, 0, 1]])


@pairs(
    {
        "dtype": [np.float32, np.float16, np.int32, np.int8, np.uint8],
        "shape, axis": SHAPES[:-1],
        "k": [0, 1, 2, -1],
        "ascending": [False, True],
        "make": [distinct, with_ties],
    }
)
def test_topk_gives_the_first_values_and_indices_of_a_stable_sort(
    dtype: Any, shape: tuple[int, ...], axis: int, k: int, ascending: bool, make: Any
) -> None:
    x = make(shape, dtype)
    count = shape[axis] if k == -1 else k
    order = np.take(stable_order(x, axis, ascending), range(count), axis)
    values, indices = run("topk", x=x, k=k, axis=axis, ascending=ascending)
    np.testing.assert_array_equal(indices, order)
    np.testing.assert_array_equal(values, np.take_along_axis(x, order, axis))
    assert values.dtype == x.dtype


def test_topk_prefers_the_lower_index_when_the_tie_is_at_its_end() -> None:
    x = np.array([5, 1, 3, 3, 3, 3, 2, 9], np.float32)
    assert run("topk", x=x, k=3)[1].tolist() == [7, 0, 2]
    assert run("topk", x=x, k=4)[1].tolist() == [7, 0, 2, 3]


@pytest.mark.parametrize("sort", [False, True])
def test_topk_gives_the_values_alone_without_return_indices(sort: bool) -> None:
    x = np.array([[-1.0, 2.0, -3.0], [4.0, -5.0, 6.0]], np.float32)
    y = run("topk", opset="iOS16", x=x, k=2, axis=1, sort=sort, return_indices=False)
    np.testing.assert_array_equal(y, [[2, -1], [6, 4]])


@pytest.mark.parametrize(("arguments", "match"), [({"k": 4}, "k is 4"), ({"output_indices_dtype": "int8"}, "uint16")])
def test_topk_refuses_what_the_specification_does_not_allow(arguments: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        run("topk", x=np.zeros(3, np.float32), **arguments)


@pytest.mark.parametrize("op", ["argsort", "topk"])
def test_sorting_no_elements_gives_none(op: str) -> None:
    y = run(op, x=np.zeros((0, 3), np.float32))
    assert (y if op == "argsort" else y[1]).shape == ((0, 3) if op == "argsort" else (0, 1))
