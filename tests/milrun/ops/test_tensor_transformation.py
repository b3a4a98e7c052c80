"""Changes of shape and order against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from milrun.registry import find, preparers

import milrun.ops  # noqa: F401 isort: skip (registers the ops)
from tests.support.covering import each, pairs

DTYPES = [np.float32, np.float16, np.int32, np.uint8, np.bool_]


def run(op: str, *, opset: str = "iOS17", **arguments: Any) -> np.ndarray:
    definition = find(op, opset)
    assert definition is not None
    arguments = {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in arguments.items()}
    return definition.run(**arguments).numpy()


def counting(shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
    return np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)


@pytest.mark.parametrize("opset", ["iOS15", "iOS16", "iOS17", "iOS18"])
@pytest.mark.parametrize(
    ("shape", "wanted", "expected"),
    [((2, 3), [3, 2], (3, 2)), ((2, 3), [2, -1], (2, 3)), ((2, 3), [2, 1, 1, 3], (2, 1, 1, 3)),
     ((2, 3), [0, -1], (2, 3)),
     ((2, 3), [-1, 0], (2, 3)), ((2, 3, 4), [0, 4, 3], (2, 4, 3)), ((1,), [], ()), ((), [1, 1], (1, 1)),
     ((0, 3), [-1, 3], (0, 3)), ((0, 3), [0, 3], (0, 3)), ((1, 2, 3, 2, 2), [6, 4], (6, 4))],
)  # fmt: skip
def test_reshape_keeps_the_order_of_the_elements(
    opset: str, shape: tuple[int, ...], wanted: list[int], expected: tuple[int, ...]
) -> None:
    x = counting(shape)
    np.testing.assert_array_equal(run("reshape", opset=opset, x=x, shape=wanted), x.reshape(expected), strict=True)


@pytest.mark.parametrize(
    ("shape", "wanted", "expected"),
    [((2, 50), [1, 0, -1, 0], (1, 1, 2, 50)), ((2, 3), [0, 0, 0], (1, 2, 3)), ((2, 3, 4), [6, 0], (6, 4)),
     ((5,), [0, 0], (1, 5))],
)  # fmt: skip
def test_from_ios17_on_zeros_count_from_the_right(
    shape: tuple[int, ...], wanted: list[int], expected: tuple[int, ...]
) -> None:
    x = counting(shape)
    np.testing.assert_array_equal(run("reshape", x=x, shape=wanted), x.reshape(expected), strict=True)
    with pytest.raises(ValueError, match="rank"):
        run("reshape", opset="iOS16", x=x, shape=wanted)


def test_a_constant_shape_prepares_a_kernel_unless_a_zero_depends_on_the_opset() -> None:
    preparer = preparers("reshape")[0]
    assert preparer is not None
    assert preparer(shape=[0, -1]) is None
    kernel = preparer(shape=[3, -1])
    assert kernel is not None
    assert kernel(x=torch.arange(6).reshape(2, 3)).tolist() == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(RuntimeError, match="invalid for input of size 5"):
        kernel(x=torch.arange(5))


@each(
    {
        "opset": ["iOS15", "iOS17"],
        "wanted": [[4, -1], [0, 7], [-1, -1], [5], [-2, -3], [], [7, -1]],
    }
)
def test_reshape_refuses_another_number_of_elements(opset: str, wanted: list[int]) -> None:
    with pytest.raises(ValueError, match="reshape"):
        run("reshape", opset=opset, x=counting((2, 3)), shape=wanted)


@each(
    {
        "dtype": DTYPES,
        "shape, refs, begins, ends, masks, expected": [
            ((4, 3), ((2, 2, 3), (1, 3)), (0, 1), (2, 2), (False, False), (2, 2, 3)),
            ((32,), ((1, 2, 2, 2), (3, 2, 2)), (1, 1), (0, 0), (True, True), (2, 2, 2, 2, 2)),
            ((72, 1), ((1, 2, 3, 4, 1), (3,)), (1, 0), (0, 1), (True, False), (2, 3, 4, 1, 3)),
            ((6,), ((4, 2, 3),), (-2,), (0,), (True,), (2, 3)),
        ],
    }
)
def test_reshape_like_joins_parts_of_the_shapes_of_others(
    dtype: Any, shape: Any, refs: Any, begins: Any, ends: Any, masks: Any, expected: Any
) -> None:
    x = counting(shape, dtype)
    got = run(
        "reshape_like",
        x=x,
        ref_tensors=[torch.zeros(ref) for ref in refs],
        begins=[torch.tensor(begin) for begin in begins],
        ends=[torch.tensor(end) for end in ends],
        end_masks=[torch.tensor(mask) for mask in masks],
    )
    np.testing.assert_array_equal(got, x.reshape(expected), strict=True)


@each(
    {
        "dtype": DTYPES,
        "shape, axes, expected": [
            ((2, 3), [0], (1, 2, 3)),
            ((2, 3), [-1], (2, 3, 1)),
            ((2, 3), [0, 1], (1, 1, 2, 3)),
            ((2, 3), [-1, -2], (2, 3, 1, 1)),
            ((1, 6), [0, -1, -2], (1, 1, 6, 1, 1)),
            ((2, 4), [-3, 1, -1], (2, 1, 1, 4, 1)),
            ((3,), [0, 1, -2, -1], (1, 1, 3, 1, 1)),
            ((), [0], (1,)),
            ((), [0, -1], (1, 1)),
            ((0, 2), [1], (0, 1, 2)),
            ((2,), [], (2,)),
        ],
    }
)
def test_expand_dims_inserts_axes_of_the_result(
    dtype: Any, shape: tuple[int, ...], axes: list[int], expected: tuple[int, ...]
) -> None:
    x = counting(shape, dtype)
    np.testing.assert_array_equal(run("expand_dims", x=x, axes=axes), x.reshape(expected), strict=True)


@pytest.mark.parametrize(
    ("shape", "axes", "expected"),
    [((1, 1, 3, 1), [-1], (1, 1, 3)), ((1, 1, 3, 1), [-3, 0], (3, 1)), ((1, 1, 3, 1), [0, 1, 3], (3,)),
     ((1, 1, 3, 1), None, (3,)),
     ((1,), None, ()), ((2, 3, 4), [0, 1], (2, 3, 4)), ((2, 1, 4), [0, 1], (2, 4)), ((0, 1), None, (0,)),
     ((1, 2), [], (1, 2))],
)  # fmt: skip
def test_squeeze_removes_axes_of_size_one_only(
    shape: tuple[int, ...], axes: list[int] | None, expected: tuple[int, ...]
) -> None:
    x = counting(shape)
    np.testing.assert_array_equal(run("squeeze", x=x, axes=axes), x.reshape(expected), strict=True)


@each(
    {
        "dtype": DTYPES,
        "shape, perm": [
            ((2, 3), [1, 0]),
            ((2, 3), [-1, 0]),
            ((2, 3), [-2, -1]),
            ((1, 2, 3, 4, 5), [4, 0, 3, 1, 2]),
            ((), []),
        ],
    }
)
def test_transpose_permutes_the_axes(dtype: Any, shape: tuple[int, ...], perm: list[int]) -> None:
    x = counting(shape, dtype)
    np.testing.assert_array_equal(run("transpose", x=x, perm=perm), np.transpose(x, perm), strict=True)


@each(
    {
        "dtype": DTYPES,
        "shape, axes": [
            ((2, 3), None),
            ((2, 3), [0]),
            ((2, 3, 4), [-1, 0]),
            ((1, 2, 3, 2, 2), [2, 4]),
            ((), None),
            ((0, 2), [0]),
        ],
    }
)
def test_reverse_flips_the_axes_named_or_all(dtype: Any, shape: tuple[int, ...], axes: list[int] | None) -> None:
    x = counting(shape, dtype)
    np.testing.assert_array_equal(run("reverse", x=x, axes=axes), np.flip(x, axes), strict=True)


@pairs(
    {
        "dtype": DTYPES,
        "index_dtype": [np.int32, np.int8],
        "shape, seq_axis, batch_axis": [
            ((3, 4), 1, 0),
            ((4, 3), 0, 1),
            ((2, 4, 3, 2), 1, -2),
            ((3, 2, 2, 1, 4), -1, 0),
        ],
    }
)
def test_reverse_sequence_reverses_the_first_elements_of_each_sequence(
    dtype: Any, index_dtype: Any, shape: tuple[int, ...], seq_axis: int, batch_axis: int
) -> None:
    x = counting(shape, dtype)
    lengths = np.array([3, 0, 4][: shape[batch_axis]], index_dtype)
    expected = x.copy()
    view = np.moveaxis(expected, (batch_axis, seq_axis), (0, 1))
    source = np.moveaxis(x, (batch_axis, seq_axis), (0, 1))
    for i, length in enumerate(lengths):
        view[i, :length] = source[i, :length][::-1]
    got = run("reverse_sequence", x=x, lengths=lengths, seq_axis=seq_axis, batch_axis=batch_axis)
    np.testing.assert_array_equal(got, expected, strict=True)


@pytest.mark.parametrize(("lengths", "batch_axis"), [([5, 0], 0), ([-1, 0], 0), ([1, 2, 3, 4], 1)])
def test_reverse_sequence_refuses_lengths_and_axes_that_make_no_sense(lengths: list[int], batch_axis: int) -> None:
    with pytest.raises(ValueError, match="reverse_sequence"):
        run("reverse_sequence", x=counting((2, 4)), lengths=np.array(lengths), seq_axis=1, batch_axis=batch_axis)


@pytest.mark.parametrize(
    ("shape", "axis", "size", "stride"),
    [((1, 4, 1, 1), 1, 2, 1), ((5,), 0, 2, 2), ((2, 7, 3), -2, 3, 2), ((4, 3), -1, 3, 1), ((2, 9), 1, 1, 4)],
)  # fmt: skip
def test_sliding_windows_have_their_elements_on_the_axis_behind(
    shape: tuple[int, ...], axis: int, size: int, stride: int
) -> None:
    x = counting(shape, np.float16)
    windows = np.lib.stride_tricks.sliding_window_view(x, size, axis)
    axis %= len(shape)
    expected = np.moveaxis(np.moveaxis(windows, axis, 0)[::stride], 0, axis)
    got = run("sliding_windows", x=x, axis=axis - len(shape), size=size, stride=stride)
    np.testing.assert_array_equal(got, np.moveaxis(expected, -1, axis + 1), strict=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize(("shape", "block"), [((1, 4, 1, 1), 2), ((2, 8, 3, 2), 2), ((1, 18, 2, 3), 3)])
def test_depth_to_space_takes_the_outer_part_of_the_channel_and_pixel_shuffle_the_inner(
    dtype: Any, shape: tuple[int, int, int, int], block: int
) -> None:
    n, c, h, w = shape
    x = counting(shape, dtype)
    outer = np.zeros((n, c // block**2, h * block, w * block), dtype)
    inner = np.zeros_like(outer)
    for i in range(block):
        for j in range(block):
            place = i * block + j
            outer[:, :, i::block, j::block] = x[:, place * outer.shape[1] : (place + 1) * outer.shape[1]]
            inner[:, :, i::block, j::block] = x[:, place :: block**2]
    np.testing.assert_array_equal(run("depth_to_space", x=x, block_size=block), outer, strict=True)
    np.testing.assert_array_equal(run("pixel_shuffle", x=x, upscale_factor=block), inner, strict=True)
    np.testing.assert_array_equal(run("space_to_depth", x=outer, block_size=block), x, strict=True)
    np.testing.assert_array_equal(run("pixel_unshuffle", x=inner, downscale_factor=block), x, strict=True)


@pytest.mark.parametrize(
    ("shape", "block", "paddings"),
    [((2, 1, 2, 4), (2, 2), ((0, 0), (2, 0))), ((1, 3, 5, 4), (2, 3), ((1, 0), (0, 2))), ((2, 2, 4, 4), (1, 4),
     ((0, 0), (0, 0)))],
)  # fmt: skip
def test_space_to_batch_moves_each_place_of_the_block_into_its_own_batch(
    shape: tuple[int, int, int, int], block: tuple[int, int], paddings: Any
) -> None:
    x = counting(shape) + 1
    padded = np.pad(x, ((0, 0), (0, 0), *paddings))
    rows, columns = block
    expected = np.concatenate([padded[:, :, i::rows, j::columns] for i in range(rows) for j in range(columns)])
    table = np.array(paddings, np.int32)
    got = run("space_to_batch", x=x, block_shape=list(block), paddings=table)
    np.testing.assert_array_equal(got, expected, strict=True)
    np.testing.assert_array_equal(run("batch_to_space", x=got, block_shape=list(block), crops=table), x, strict=True)
