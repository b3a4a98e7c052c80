"""Convolutions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from milrun.blob import forget
from milrun.registry import op, prepared_op

_CONV: tuple[Callable[..., Tensor], ...] = (torch.conv1d, torch.conv2d, torch.conv3d)
_CONV_TRANSPOSE: tuple[Callable[..., Tensor], ...] = (
    torch.conv_transpose1d,
    torch.conv_transpose2d,
    torch.conv_transpose3d,
)
_SAME = ("same", "same_lower")

_FRAMES_PAY_FROM = 1 << 13
"""Elements of a weight, below which a convolution is as fast as its frames."""
_MOST_OVERLAP = 8
"""Frames that an element may lie in: they are copied out."""

Amounts = list[tuple[int, int]]
"""Elements to add, or to take away, before and after each spatial dimension."""


@prepared_op("conv", "x")
def conv(
    weight: Tensor,
    bias: Tensor | None = None,
    strides: list[int] | None = None,
    pad_type: str = "valid",
    pad: list[int] | None = None,
    dilations: list[int] | None = None,
    groups: int = 1,
) -> Callable[..., Tensor]:
    strides, dilations = _attributes("conv", weight, strides, dilations)
    extent = _extent(weight, dilations)
    convolve = _CONV[len(extent) - 1]
    amounts = fixed_padding("conv", pad_type, pad, extent, strides)

    def padded(x: Tensor, amounts: Amounts) -> Tensor:
        if all(before == after for before, after in amounts):
            return convolve(x, weight, bias, strides, [before for before, _ in amounts], dilations, groups)
        return convolve(F.pad(x, innermost_first(amounts)), weight, bias, strides, 0, dilations, groups)

    frames = _frames(weight, bias, strides, dilations, groups) if amounts is not None else None
    if frames is not None and amounts is not None:
        margins = innermost_first(amounts)
        return (lambda x: frames(F.pad(x, margins))) if any(margins) else frames
    if amounts is None:
        lower = pad_type == "same_lower"
        return lambda x: padded(x, same_padding(x.shape[2:], extent, strides, lower))
    if all(before == after for before, after in amounts):
        both = [before for before, _ in amounts]
        return lambda x: convolve(x, weight, bias, strides, both, dilations, groups)
    return lambda x: padded(x, amounts)


def _frames(
    weight: Tensor, bias: Tensor | None, strides: list[int], dilations: list[int], groups: int
) -> Callable[[Tensor], Tensor] | None:
    """Return the convolution of one channel with long kernels, as of an STFT, as a product of frames and weights.

    oneDNN takes half the time for it, with the weights laid out in advance.
    """
    if weight.dim() != 3 or weight.shape[1] != 1 or weight.dtype != torch.float32 or groups != 1 or dilations != [1]:
        return None
    size, stride = weight.shape[2], strides[0]
    if weight.numel() < _FRAMES_PAY_FROM or size > _MOST_OVERLAP * stride:
        return None
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return None
    multiply = torch.ops.mkldnn._linear_pointwise
    packed = torch.ops.mkldnn._reorder_linear_weight(weight[:, 0].contiguous(), None)
    forget(weight)

    def run(x: Tensor) -> Tensor:
        count = (x.shape[-1] - size) // stride + 1
        if x.dim() != 3 or x.shape[1] != 1 or count < 1:
            raise ValueError(f"conv: x of shape {tuple(x.shape)} does not fit one channel of at least {size} elements")
        outer, _, step = x.stride()
        frames = x.as_strided((x.shape[0], count, size), (outer, stride * step, step), x.storage_offset())
        out: Tensor = multiply(frames, packed, bias, "none", [], "")
        return out.mT

    return run


@op("conv_quantized")
def conv_quantized(
    x: Tensor,
    weight: Tensor,
    quantization_type: str,
    quant_scale: Tensor,
    quant_bias: Tensor,
    bias: Tensor | None = None,
    nbits: int = 8,
    strides: list[int] | None = None,
    pad_type: str = "valid",
    pad: list[int] | None = None,
    dilations: list[int] | None = None,
    groups: int = 1,
) -> Tensor:
    if quantization_type != "linear":
        # A lookup table has no parameter to arrive by, so "lut" cannot be carried out.
        raise ValueError(f"conv_quantized: quantization_type {quantization_type!r} cannot be run, only 'linear'")
    if not 1 <= nbits <= 8:
        raise ValueError(f"conv_quantized: nbits {nbits} is not one of 1 to 8")
    scale, shift = (_per_output("conv_quantized", weight, value) for value in (quant_scale, quant_bias))
    dense = weight.to(x.dtype) * scale.to(x.dtype) + shift.to(x.dtype)
    bias = None if bias is None else bias.to(x.dtype)
    return conv(dense, bias, strides, pad_type, pad, dilations, groups)(x)


@prepared_op("conv_transpose", "x")
def conv_transpose(
    weight: Tensor,
    bias: Tensor | None = None,
    pad: list[int] | None = None,
    output_shape: list[int] | None = None,
    pad_type: str = "valid",
    strides: list[int] | None = None,
    dilations: list[int] | None = None,
    groups: int = 1,
) -> Callable[..., Tensor]:
    strides, dilations = _attributes("conv_transpose", weight, strides, dilations)
    extent = _extent(weight, dilations)
    if output_shape is not None and len(output_shape) != weight.dim():
        raise ValueError(f"conv_transpose: output_shape {output_shape} does not have {weight.dim()} elements")
    convolve = _CONV_TRANSPOSE[len(extent) - 1]
    custom = _custom("conv_transpose", pad, len(extent)) if pad_type == "custom" else None
    if custom is None and pad_type not in ("valid", "same"):
        raise ValueError(f"conv_transpose: pad_type {pad_type!r} is not one of 'same', 'valid', 'custom'")

    def crop(i: int, size: int) -> tuple[int, int]:
        """Return the elements to crop off the full result of ``(size - 1) * stride + extent``; below 0, to add."""
        if output_shape is not None:
            total = (size - 1) * strides[i] + extent[i] - output_shape[2 + i]
        elif pad_type == "same":
            total = extent[i] - strides[i]
        else:
            return custom[i] if custom else (0, 0)
        before = custom[i][0] if custom else max(0, total) // 2 if pad_type == "same" else 0
        return before, total - before

    def run(x: Tensor) -> Tensor:
        crops = [crop(i, size) for i, size in enumerate(x.shape[2:])]
        padding, extra, rest = _torch_transpose_terms(crops, strides, dilations)
        if not any(a or b for a, b in rest):
            return convolve(x, weight, bias, strides, padding, extra, groups, dilations)
        if all(a >= 0 and b >= 0 for a, b in rest):
            y = convolve(x, weight, bias, strides, padding, extra, groups, dilations)
            for dim, (before, after) in enumerate(rest, start=2):
                y = y.narrow(dim, before, y.shape[dim] - before - after)
            return y
        y = convolve(x, weight, None, strides, padding, extra, groups, dilations)
        y = F.pad(y, [-amount for amount in innermost_first(rest)])
        return y if bias is None else y + bias.view(-1, *[1] * len(extent))

    return run


def _torch_transpose_terms(
    crops: Amounts, strides: list[int], dilations: list[int]
) -> tuple[list[int], list[int], Amounts]:
    """Return the crops as torch's ``padding`` and ``output_padding``, and what of them is left to do after it."""
    padding, extra, rest = [], [], []
    for (before, after), stride, dilation in zip(crops, strides, dilations, strict=True):
        if 0 <= before - after < max(stride, dilation) and before >= 0:
            terms = before, before - after, (0, 0)
        else:
            both = max(0, min(before, after))
            terms = both, 0, (before - both, after - both)
        padding.append(terms[0])
        extra.append(terms[1])
        rest.append(terms[2])
    return padding, extra, rest


def fixed_padding(
    op: str, pad_type: str, pad: list[int] | None, extent: Sequence[int], strides: Sequence[int]
) -> Amounts | None:
    """Return the padding that a pad_type stands for, or None where it depends on the size of the input."""
    if pad_type == "valid":
        return [(0, 0)] * len(extent)
    if pad_type == "custom":
        return _custom(op, pad, len(extent))
    if pad_type not in _SAME:
        raise ValueError(f"{op}: pad_type {pad_type!r} is not one of 'valid', 'custom', 'same', 'same_lower'")
    if any(stride != 1 for stride in strides):
        return None
    return same_padding(extent, extent, strides, pad_type == "same_lower")


def same_padding(sizes: Sequence[int], extent: Sequence[int], strides: Sequence[int], lower: bool) -> Amounts:
    """Return the padding that yields ``ceil(size / stride)`` windows; ``lower`` puts the odd element in front."""
    amounts = []
    for size, window, stride in zip(sizes, extent, strides, strict=True):
        total = max(0, (-(-size // stride) - 1) * stride + window - size)
        before = (total + lower) // 2
        amounts.append((before, total - before))
    return amounts


def innermost_first(amounts: Amounts) -> list[int]:
    """Return the amounts in the order of ``torch.nn.functional.pad``."""
    return [amount for pair in reversed(amounts) for amount in pair]


def per_dimension(op: str, name: str, values: list[int] | None, count: int, least: int = 1) -> list[int]:
    """Return an attribute with one value for each of ``count`` spatial dimensions, all 1 by default."""
    if values is None:
        return [1] * count
    if len(values) != count or min(values) < least:
        raise ValueError(f"{op}: {name} {values} is not {count} numbers of at least {least}")
    return values


def _custom(op: str, pad: list[int] | None, count: int) -> Amounts:
    values = [0] * (2 * count) if pad is None else per_dimension(op, "pad", pad, 2 * count, least=0)
    return list(zip(values[::2], values[1::2], strict=True))


def _attributes(
    op: str, weight: Tensor, strides: list[int] | None, dilations: list[int] | None
) -> tuple[list[int], list[int]]:
    count = weight.dim() - 2
    if not 1 <= count <= 3:
        raise ValueError(f"{op}: weight of rank {weight.dim()} is not of rank 3, 4 or 5")
    return per_dimension(op, "strides", strides, count), per_dimension(op, "dilations", dilations, count)


def _extent(weight: Tensor, dilations: list[int]) -> list[int]:
    """Return how many elements the dilated kernel covers in each spatial dimension."""
    return [(size - 1) * dilation + 1 for size, dilation in zip(weight.shape[2:], dilations, strict=True)]


def _per_output(op: str, weight: Tensor, value: Tensor) -> Tensor:
    if value.numel() not in (1, weight.shape[0]):
        raise ValueError(f"{op}: {value.numel()} quantization values for {weight.shape[0]} output channels")
    return value.reshape(-1, *[1] * (weight.dim() - 1))
