"""Work of an op: how many multiplications it does, or how many elements it makes, whichever is more.

Like the sizes of ``milrun.growth`` it is told by the op's arguments before its kernel runs. Ops that are missing here
are counted by their results.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from torch import Tensor

from milrun.growth import SIZES, broadcast, conv_sizes, matmul_result

Work = Callable[..., int]
WORK: dict[str, Work] = {}
LEAST = 1 << 14
"""The work that any op is counted as: calling a kernel takes about as long."""


def _work_of(*op_types: str) -> Callable[[Work], Work]:
    def register(work: Work) -> Work:
        WORK.update(dict.fromkeys(op_types, work))
        return work

    return register


@_work_of("conv", "conv_quantized")
def _conv(x: Tensor, weight: Tensor, **others: Any) -> int:
    _, result = conv_sizes(x, weight, **others)
    return prod(x.shape[:1]) * prod(result) * weight.numel()


@_work_of("conv_transpose")
def _conv_transpose(x: Tensor, weight: Tensor, **_: Any) -> int:
    return x.numel() * prod(weight.shape[1:])


@_work_of("linear")
def _linear(x: Tensor, weight: Tensor, **_: Any) -> int:
    return x.numel() * prod(weight.shape[:1])


@_work_of("matmul")
def _matmul(x: Tensor, y: Tensor, transpose_x: bool = False, transpose_y: bool = False) -> int:
    inner = (1, *x.shape)[-2 if transpose_x and x.dim() > 1 else -1]
    return matmul_result(x, y, transpose_x, transpose_y) * inner


@_work_of("einsum")
def _einsum(values: list[Tensor], equation: str) -> int:
    axes = equation.partition("->")[0].replace(" ", "").split(",")
    sizes = {
        axis: size
        for value, names in zip(values, axes, strict=False)
        for axis, size in zip(names, value.shape, strict=False)
    }
    return prod(sizes.values())


@_work_of("scaled_dot_product_attention", "fused_attention")
def _attention(query: Tensor, key: Tensor, mask: Tensor | None = None, **_: Any) -> int:
    keys = key.shape[-2] if key.shape[-1] == query.shape[-1] else key.shape[-1]
    return 2 * query.shape[-1] * broadcast((*query.shape[:-1], keys), () if mask is None else mask.shape)


@_work_of("lstm", "gru", "rnn")
def _recurrent(x: Tensor, weight_ih: Tensor, weight_hh: Tensor, **_: Any) -> int:
    return 2 * prod(x.shape[:2]) * (weight_ih.numel() + weight_hh.numel())


@_work_of("spelled_out_gru")
def _spelled_out(x: Tensor, weights: list[Tensor], **_: Any) -> int:
    return prod(x.shape[:2]) * sum(weight.numel() for weight in weights)


@_work_of("max_pool", "avg_pool", "l2_pool")
def _pool(x: Tensor, kernel_sizes: list[int], **others: Any) -> int:
    return SIZES["max_pool"](x, kernel_sizes, **others) * prod(max(size, 1) for size in kernel_sizes)


@_work_of("non_maximum_suppression")
def _suppression(boxes: Tensor, scores: Tensor, **_: Any) -> int:
    return boxes.numel() * scores.numel()
