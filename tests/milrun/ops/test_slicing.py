"""Slices against numpy, by the function and by the kernel prepared for constant bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from milrun.registry import find

import milrun.ops  # noqa: F401 isort: skip (registers the ops)
from tests.support.covering import each

INT_MAX = 2**31 - 1

# begin, end, stride, begin_mask, end_mask, squeeze_mask, and the same in numpy's notation
CASES: list[tuple[Any, Any, Any, Any, Any, Any, Any]] = [
    ([1, 1, 1], [2, 2, 2], None, None, None, None, np.s_[1:2, 1:2, 1:2]),
    ([1, 1, 1], [2, 3, 4], [1, 1, 2], None, None, None, np.s_[1:2, 1:3, 1:4:2]),
    ([-3, -3, -3], [-1, -1, -1], None, None, None, None, np.s_[-3:-1, -3:-1, -3:-1]),
    ([0, 0, -3], [-1, -2, -2], None, None, None, None, np.s_[0:-1, 0:-2, -3:-2]),
    ([-1, -1, -1], [0, 1, -3], [-2, -1, -3], None, None, None, np.s_[-1:0:-2, -1:1:-1, -1:-3:-3]),
    ([1, 1, 1], [2, 3, 4], [1, 1, 2], [1, 0, 1], None, None, np.s_[:2, 1:3, :4:2]),
    ([1, 1, 1], [2, 3, 4], [1, 1, 2], [1, 0, 1], [1, 1, 0], None, np.s_[:, 1:, :4:2]),
    ([1, 1, 1], [2, 3, 3], [1, 1, 2], [0, 0, 1], [1, 0, 0], [0, 1, 0], np.s_[1::1, 1, :3:2]),
    ([0, 0, 0], [0, 0, 0], None, [1, 1, 1], [1, 1, 1], None, np.s_[:, :, :]),
    ([1, 1, 1], [2, 2, 0], [1, 1, 1], None, None, [0, 0, 1], np.s_[1:2, 1:2, 1]),
    ([0, 0, 1], [0, 0, 0], [1, 1, 1], [1, 1, 0], [1, 1, 0], [0, 0, 1], np.s_[..., 1]),
    ([0, 0, 0], [0, 0, 0], None, [0, 0, 1], [0, 0, 1], [1, 1, 0], np.s_[0, 0, :]),
    ([1, 0, 0], [0, 0, 0], None, [0, 1, 1], [0, 1, 1], [1, 0, 0], np.s_[1]),
    ([0, 0, 0], [0, 0, 0], [1, 1, -1], [1, 1, 1], [1, 1, 1], None, np.s_[..., ::-1]),
    ([0, 0, 0], [0, 0, 0], [-1, -2, -3], [1, 1, 1], [1, 1, 1], None, np.s_[::-1, ::-2, ::-3]),
    ([0, 0, 0], [INT_MAX, INT_MAX, INT_MAX], None, None, None, None, np.s_[:, :, :]),
    ([-9, -9, 3], [9, 9, -9], [1, 2, -2], None, None, None, np.s_[-9:9, -9:9:2, 3:-9:-2]),
    ([0, 2, 0], [0, 1, 0], None, None, [0, 0, 1], None, np.s_[0:0, 2:1, 0:]),
    ([0, 2, 3], [2, 2, 3], [1, -1, -1], None, None, None, np.s_[0:2, 2:2:-1, 3:3:-1]),
    ([-1, 1, -1], [0, 0, 0], [1, -1, 1], None, None, [1, 0, 1], np.s_[-1, 1:0:-1, -1]),
    ([7, -1, 7], [0, 0, 0], [1, 2, -1], [1, 0, 1], [1, 1, 1], [1, 0, 0], np.s_[0, -1::2, ::-1]),
    ([1, 2, 3], [0, 0, 0], [1, 1, 1], None, None, [1, 1, 1], np.s_[1, 2, 3]),
]  # fmt: skip


def options(stride: Any, begin_mask: Any, end_mask: Any, squeeze_mask: Any) -> dict[str, Any]:
    given = {"stride": stride, "begin_mask": begin_mask, "end_mask": end_mask, "squeeze_mask": squeeze_mask}
    masks = {name: [bool(bit) for bit in mask] for name, mask in given.items() if mask is not None and name != "stride"}
    return masks if stride is None else masks | {"stride": stride}


def run(op: str, **arguments: Any) -> np.ndarray:
    definition = find(op, "iOS18")
    assert definition is not None
    arguments = {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in arguments.items()}
    return definition.run(**arguments).numpy()


def counting(dtype: Any = np.float32) -> np.ndarray:
    return np.arange(24).reshape(2, 3, 4).astype(dtype)


@each(
    {
        "dtype": [np.float32, np.float16, np.int32, np.uint8, np.bool_],
        "begin, end, stride, begin_mask, end_mask, squeeze_mask, index": CASES,
    }
)
def test_slice_by_index_is_numpys_slice(
    dtype: Any, begin: Any, end: Any, stride: Any, begin_mask: Any, end_mask: Any, squeeze_mask: Any, index: Any
) -> None:
    x = counting(dtype)
    y = run("slice_by_index", x=x, begin=begin, end=end, **options(stride, begin_mask, end_mask, squeeze_mask))
    np.testing.assert_array_equal(y, np.asarray(x[index]), strict=True)


@pytest.mark.parametrize("step", [-2, -1, 1, 3])
def test_every_pair_of_bounds_gives_numpys_slice(step: int) -> None:
    x = np.arange(4, dtype=np.float32)
    for begin in range(-6, 7):
        for end in range(-6, 7):
            y = run("slice_by_index", x=x, begin=[begin], end=[end], stride=[step])
            np.testing.assert_array_equal(y, x[begin:end:step], strict=True)


@pytest.mark.parametrize(
    "arguments",
    [{"begin": [0, 0], "end": [1, 1]}, {"begin": [0, 0, 0], "end": [1, 1, 1], "stride": [1, 0, 1]}],
)
def test_slice_by_index_refuses_a_zero_stride_and_another_rank(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="slice_by_index"):
        run("slice_by_index", x=counting(), **arguments)


def test_a_single_index_outside_the_axis_is_an_error() -> None:
    with pytest.raises(IndexError):
        run("slice_by_index", x=counting(), begin=[2, 0, 0], end=[0, 0, 0], squeeze_mask=[True, False, False])


@each(
    {
        "dtype": [np.float32, np.float16, np.int32, np.bool_],
        "begin, end, stride, begin_mask, end_mask, squeeze_mask, index": CASES,
    }
)
def test_slice_update_writes_numpys_slice_and_leaves_its_input_alone(
    dtype: Any, begin: Any, end: Any, stride: Any, begin_mask: Any, end_mask: Any, squeeze_mask: Any, index: Any
) -> None:
    x = counting(dtype)
    update = np.random.default_rng(5).integers(-5, 5, x[index].shape)
    update = np.asarray(update).astype(dtype)
    expected = x.copy()
    expected[index] = update
    arguments = {"begin": begin, "end": end, **options(stride, begin_mask, end_mask, squeeze_mask)}
    np.testing.assert_array_equal(run("slice_update", x=x, update=update, **arguments), expected, strict=True)
    np.testing.assert_array_equal(x, counting(dtype))


def test_slice_update_refuses_an_update_that_would_have_to_be_repeated() -> None:
    with pytest.raises(ValueError, match="update has shape"):
        run("slice_update", x=counting(), update=np.zeros((1, 1, 4), np.float32), begin=[0, 0, 0], end=[2, 1, 4])


@each(
    {
        "dtype": [np.float32, np.float16, np.int32, np.bool_],
        "begin, size, index": [
            ([1, 1, 1], [1, 2, 3], np.s_[1:2, 1:3, 1:4]),
            ([1, 1, 1], [-1, 2, -1], np.s_[1:, 1:3, 1:]),
            ([0, 1, 0], [-1, -1, 3], np.s_[:, 1:, :3]),
            ([0, -2, 0], [-1, -1, 3], np.s_[:, -2:, :3]),
            ([0, 0, -4], [2, 0, 4], np.s_[:, :0]),
            ([2, 0, 0], [0, 3, 4], np.s_[2:]),
        ],
    }
)
def test_slice_by_size_takes_so_many_elements(dtype: Any, begin: list[int], size: list[int], index: Any) -> None:
    x = counting(dtype)
    np.testing.assert_array_equal(run("slice_by_size", x=x, begin=begin, size=size), x[index], strict=True)


@pytest.mark.parametrize(
    ("begin", "size"),
    [([0, 0, 2], [2, 3, 3]), ([0, 0, -5], [2, 3, 1]), ([3, 0, 0], [-1, 3, 4]), ([0, 0], [1, 1]), ([0] * 3, [2, -2, 4])],
)  # fmt: skip
def test_slice_by_size_refuses_what_lies_outside(begin: list[int], size: list[int]) -> None:
    with pytest.raises(ValueError, match="slice_by_size"):
        run("slice_by_size", x=counting(), begin=begin, size=size)
