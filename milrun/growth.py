"""Sizes of results, for the ops that can make much out of little.

Each function takes the op's arguments as its kernel gets them and gives the number of elements, or a bound on it, in
Python's unbounded integers. What a kernel of torch takes for itself while it runs is counted for convolutions, matrix
products and attention: ``tests/milrun/test_scratch_memory.py`` compares it with the memory that torch takes. Ops that
are missing here make nothing larger than all their operands together.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, prod
from typing import Any

import torch
from torch import Tensor

Size = Callable[..., int]
SIZES: dict[str, Size] = {}


def _size_of(*op_types: str) -> Callable[[Size], Size]:
    def register(size: Size) -> Size:
        SIZES.update(dict.fromkeys(op_types, size))
        return size

    return register


def _count(sizes: Any) -> int:
    return prod(max(int(size), 0) for size in sizes)


def _scaled(factor: Any) -> int:
    value = float(factor)
    return ceil(value) if 0 < value < float("inf") else 0


@_size_of("fill", "random_normal", "random_uniform", "random_bernoulli")
def _fill(shape: list[int], **_: Any) -> int:
    return _count(shape)


@_size_of("random_categorical")
def _categorical(x: Tensor, size: int = 1, **_: Any) -> int:
    return x.numel() * max(size, 0)


@_size_of("tile")
def _tile(x: Tensor, reps: list[int], **_: Any) -> int:
    return x.numel() * _count(reps)


@_size_of("concat", "stack")
def _joined(values: list[Tensor], **_: Any) -> int:
    return sum(value.numel() for value in values)


@_size_of("range_1d")
def _range(end: Tensor, start: Tensor, step: Tensor, **_: Any) -> int:
    low, high, by = (float(value) for value in (start, end, step))
    count = (high - low) / by if by else 0.0
    return ceil(count) if 0 < count < float("inf") else 0


@_size_of("one_hot")
def _one_hot(indices: Tensor, one_hot_vector_size: int, **_: Any) -> int:
    return indices.numel() * max(one_hot_vector_size, 0)


@_size_of("pad")
def _pad(x: Tensor, pad: list[int], **_: Any) -> int:
    return _padded(x, pad)


@_size_of("conv", "conv_quantized")
def _conv(x: Tensor, weight: Tensor, **others: Any) -> int:
    padded, result = conv_sizes(x, weight, **others)
    copy = _count(x.shape[:2]) * _count(padded) if padded != list(x.shape[2:]) else 0
    y = [*x.shape[:1], weight.shape[0]]
    scratch = _blocked(x.shape[:2], padded) + _blocked(y, result) + weight.numel()
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        # A column of the kernel's window for each result.
        scratch += _count(y[:1]) * _count(weight.shape[1:]) * _count(result)
    elif x.dim() == 3 and weight.shape[1:2] == (1,):
        # The frames that an STFT is computed from; where they overlap more, there are none.
        scratch += min(_count(x.shape[:1]) * _count(weight.shape[2:]) * _count(result), 8 * x.numel())
    return copy + _count(y) * _count(result) + scratch


def conv_sizes(
    x: Tensor, weight: Tensor, pad_type: str = "valid", pad: list[int] | None = None, **others: Any
) -> tuple[list[int], list[int]]:
    """Return the spatial sizes of a convolution's input, once it is padded, and those of its result."""
    reach, sizes = _reach(weight, others), list(x.shape[2:])
    strides = [max(stride, 1) for stride in others.get("strides") or [1] * len(sizes)]
    if pad_type.startswith("same"):
        padded = [size + extent for size, extent in zip(sizes, reach, strict=False)]
        return padded, [-(-size // stride) for size, stride in zip(sizes, strides, strict=False)]
    amounts = [max(amount, 0) for amount in pad or []] if pad_type == "custom" else [0] * (2 * len(sizes))
    padded = [size + a + b for size, a, b in zip(sizes, amounts[::2], amounts[1::2], strict=False)] or sizes
    return padded, [max((n - r) // s + 1, 0) for n, r, s in zip(padded, reach, strides, strict=False)]


@_size_of("conv_transpose")
def _conv_transpose(x: Tensor, weight: Tensor, output_shape: list[int] | None = None, **others: Any) -> int:
    strides = others.get("strides") or [1] * (x.dim() - 2)
    result = [s * n + r for s, n, r in zip(strides, x.shape[2:], _reach(weight, others), strict=False)]
    channels = weight.shape[1] * max(int(others.get("groups") or 1), 1) if weight.dim() > 1 else 1
    y = [*x.shape[:1], channels]
    columns = _count(weight.shape[1:]) * _count(x.shape[2:])
    made = max(_count(y) * _count(result), _count(output_shape or []))
    return made + _blocked(x.shape[:2], x.shape[2:]) + _blocked(y, result) + weight.numel() + columns


def _blocked(leading: Any, sizes: Any) -> int:
    """Return the size of a copy in the form of oneDNN, which holds channels by the sixteen."""
    batch, channels = (*leading, 1, 1)[:2]
    return batch * (channels if channels < _FEW_CHANNELS else -(-channels // 16) * 16) * _count(sizes)


_FEW_CHANNELS = 4
"""Channels below which oneDNN takes a tensor as it lies."""


def _reach(weight: Tensor, others: dict[str, Any]) -> list[int]:
    """Return the extent of a kernel along each axis."""
    kernel = weight.shape[2:]
    return [(k - 1) * d + 1 for k, d in zip(kernel, others.get("dilations") or [1] * len(kernel), strict=False)]


@_size_of("max_pool", "avg_pool", "l2_pool")
def _pool(x: Tensor, kernel_sizes: list[int], pad: list[int] | None = None, pad_type: str = "", **_: Any) -> int:
    if pad_type.lower().startswith("same"):
        # As many elements more as a window has, at most.
        pad = [amount for size in kernel_sizes for amount in (size, 0)]
    return _padded(x, pad or [])


@_size_of("upsample_nearest_neighbor", "upsample_bilinear")
def _upsample(x: Tensor, scale_factor_height: Any = 1, scale_factor_width: Any = 1, **_: Any) -> int:
    return x.numel() * _scaled(scale_factor_height) * _scaled(scale_factor_width)


@_size_of("resize_nearest_neighbor", "resize_bilinear")
def _resize_to(x: Tensor, target_size_height: int = 1, target_size_width: int = 1, **_: Any) -> int:
    return _count(x.shape[:-2]) * _count([target_size_height, target_size_width])


@_size_of("resize")
def _resize(x: Tensor, shape: list[int], resized_dims: int, **_: Any) -> int:
    kept = x.shape[: max(x.dim() - resized_dims, 0)]
    return _count(kept) * prod(
        max(int(size), x.shape[-1 - i] if i < x.dim() else 1) for i, size in enumerate(shape[::-1])
    )


@_size_of("crop_resize")
def _crop_resize(x: Tensor, target_height: int = 1, target_width: int = 1, **others: Any) -> int:
    boxes = others.get("boxes", others.get("roi"))
    return x.numel() and _count(x.shape[:2]) * len(boxes) * _count([target_height, target_width])  # type: ignore[arg-type]


@_size_of("affine")
def _affine(x: Tensor, output_height: int, output_width: int, **_: Any) -> int:
    return _count(x.shape[:2]) * _count([output_height, output_width])


@_size_of("resample")
def _resample(x: Tensor, coordinates: Tensor, **_: Any) -> int:
    return _count(x.shape[:2]) * coordinates.numel()


@_size_of("sliding_windows")
def _windows(x: Tensor, size: int, **_: Any) -> int:
    return x.numel() * max(size, 1)


@_size_of("space_to_batch")
def _space_to_batch(x: Tensor, paddings: Tensor, **_: Any) -> int:
    return _padded(x, [int(value) for value in paddings.reshape(-1).tolist()])


@_size_of("gather")
def _gather(x: Tensor, indices: Tensor, axis: int = 0, **_: Any) -> int:
    sizes = list(x.shape)
    if sizes and -len(sizes) <= axis < len(sizes):
        del sizes[axis]
    return _count(sizes) * indices.numel()


@_size_of("gather_nd")
def _gather_nd(x: Tensor, indices: Tensor, **_: Any) -> int:
    taken = indices.shape[-1] if indices.dim() else 1
    return _count(x.shape[taken:]) * indices.numel()


@_size_of("matmul")
def _matmul(x: Tensor, y: Tensor, **others: Any) -> int:
    batch = broadcast(x.shape[:-2], y.shape[:-2])
    # An operand that is broadcast along the batch is copied out, unless the other is one matrix for all.
    repeated = [z for z in (x, y) if _count(z.shape[:-2]) != batch] if min(x.dim(), y.dim()) > 2 else []
    return matmul_result(x, y, **others) + batch * sum(_count(z.shape[-2:]) for z in repeated)


def matmul_result(x: Tensor, y: Tensor, transpose_x: bool = False, transpose_y: bool = False) -> int:
    """Return the number of elements of a matrix product."""
    rows, columns = (1, *x.shape)[-1 if transpose_x else -2], (1, *y.shape)[-2 if transpose_y else -1]
    batch = broadcast(x.shape[:-2], y.shape[:-2])
    return batch * (rows if x.dim() > 1 else 1) * (columns if y.dim() > 1 else 1)


@_size_of("linear")
def _linear(x: Tensor, weight: Tensor, **_: Any) -> int:
    return _count(x.shape[:-1]) * _count(weight.shape[:1])


@_size_of("einsum")
def _einsum(values: list[Tensor], **_: Any) -> int:
    return prod(max(value.numel(), 1) for value in values)


@_size_of("scaled_dot_product_attention")
def _attention(query: Tensor, key: Tensor, value: Tensor, **_: Any) -> int:
    return _attended(query, key, value, _count(key.shape[-2:-1]))


@_size_of("fused_attention")
def _fused_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, transpose_y: bool = False, **_: Any
) -> int:
    keys = key.shape[-2:-1] if transpose_y else key.shape[-1:]
    return _attended(query, key, value, _count(keys), mask)


def _attended(query: Tensor, key: Tensor, value: Tensor, keys: int, mask: Tensor | None = None) -> int:
    """Return the size of attention. With a mask all scores may be held at once, before and after softmax."""
    over = () if mask is None else tuple(mask.shape)
    batch = broadcast(query.shape[:-2], key.shape[:-2], value.shape[:-2], over[:-2])
    rows = batch * broadcast(query.shape[-2:-1], over[-2:-1])
    scores, result = rows * broadcast((keys,), over[-1:]), rows * _count(value.shape[-1:])
    same = query.shape[:-2] == key.shape[:-2] == value.shape[:-2] and query.shape[-1:] == value.shape[-1:]
    if mask is not None or not same or query.dim() not in (3, 4):
        # A quarter more for the mask of empty rows, which is bool; and the operands are scaled in copies.
        return 2 * scores + -(-scores // 4) + result + query.numel() + key.numel()
    return scores + result


@_size_of("select")
def _select(cond: Tensor, a: Tensor, b: Tensor, **_: Any) -> int:
    return broadcast(cond.shape, a.shape, b.shape)


@_size_of(
    *("add", "sub", "mul", "real_div", "floor_div", "mod", "pow", "maximum", "minimum", "equal", "not_equal"),
    *("less", "less_equal", "greater", "greater_equal", "logical_and", "logical_or", "logical_xor"),
)
def _binary(x: Any, y: Any, **_: Any) -> int:
    return broadcast(*(value.shape for value in (x, y) if isinstance(value, Tensor)))


@_size_of("constexpr_lut_to_dense")
def _look_up(indices: Tensor, lut: Tensor, shape: list[int] | None = None, **_: Any) -> int:
    return indices.numel() * lut.shape[-1] if shape is None and lut.dim() else _count(shape or [])


@_size_of("constexpr_lut_to_sparse")
def _look_up_sparse(indices_mask: Tensor, lut: Tensor, **_: Any) -> int:
    return indices_mask.numel() * (lut.shape[-1] if lut.dim() else 1)


@_size_of("constexpr_sparse_to_dense")
def _dense(mask: Tensor, shape: list[int] | None = None, **_: Any) -> int:
    return mask.numel() if shape is None else _count(shape)


@_size_of("lstm", "gru", "rnn")
def _recurrent(x: Tensor, weight_hh: Tensor, **_: Any) -> int:
    # Input projections of all steps at once, in both directions.
    return 2 * _count(x.shape[:2]) * _count(weight_hh.shape[:1])


@_size_of("spelled_out_gru")
def _spelled_out(x: Tensor, states: Tensor, **_: Any) -> int:
    # Input projections of all steps at once, what comes in rounded, and the states, as they are made and joined.
    return 2 * _count(x.shape[:2]) * 3 * _count(states.shape[-1:]) + 2 * x.numel() + 3 * states.numel()


@_size_of("list_gather")
def _gathered(ls: list[Tensor], indices: list[int], **_: Any) -> int:
    return len(indices) * max((item.numel() for item in ls), default=0)


@_size_of("make_list")
def _element(elem_shape: list[str] | None = None, **_: Any) -> int:
    return _count(size if str(size).lstrip("-").isdigit() else 0 for size in elem_shape or ["0"])


@_size_of("non_maximum_suppression")
def _boxes(boxes: Tensor, scores: Tensor, max_boxes: int, **_: Any) -> int:
    classes = 4 * scores.numel() // max(boxes.numel(), 1)
    return boxes.shape[0] * max(max_boxes, 0) * (4 + classes)


@_size_of("local_response_norm")
def _neighbours(x: Tensor, size: int, **_: Any) -> int:
    return x.numel() * (1 + max(size, 0))


@_size_of("linear_activation", "sigmoid_hard")
def _shifted(x: Tensor, beta: Tensor, **_: Any) -> int:
    return broadcast(x.shape, beta.shape)


@_size_of("softplus_parametric")
def _per_channel(x: Tensor, alpha: Tensor, beta: Tensor, **_: Any) -> int:
    return x.numel() * max(alpha.numel(), 1) * max(beta.numel(), 1) if 1 in x.shape[:2] else x.numel()


def _padded(x: Tensor, pad: list[int]) -> int:
    """Return the number of elements once the last axes are padded by (before, after) each."""
    pairs = [max(int(a), 0) + max(int(b), 0) for a, b in zip(pad[::2], pad[1::2], strict=False)]
    first = x.dim() - len(pairs)
    return prod(size + (pairs[i - first] if i >= first else 0) for i, size in enumerate(x.shape))


def broadcast(*shapes: Any) -> int:
    rank = max((len(shape) for shape in shapes), default=0)
    return prod(max(shape[-i] if i <= len(shape) else 1 for shape in shapes) for i in range(1, rank + 1))
