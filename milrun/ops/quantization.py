"""Quantization of values at run time."""

from __future__ import annotations

import torch
from torch import Tensor

from milrun.registry import op

_DTYPES = {"int8": torch.int8, "uint8": torch.uint8}


@op("quantize", since="iOS17")
def quantize(
    input: Tensor, scale: Tensor, output_dtype: str, zero_point: Tensor | None = None, axis: int | None = None
) -> Tensor:
    if output_dtype not in _DTYPES:
        raise ValueError(f"quantize: output_dtype {output_dtype!r} is not one of 'int8', 'uint8'")
    dtype = _DTYPES[output_dtype]
    limits = torch.iinfo(dtype)
    y = (input / along_axis("quantize", "scale", scale, input, axis)).round_()
    if zero_point is not None:
        y.add_(along_axis("quantize", "zero_point", zero_point, input, axis))
    return y.clamp_(limits.min, limits.max).to(dtype)


@op("dequantize", since="iOS17")
def dequantize(input: Tensor, scale: Tensor, zero_point: Tensor | None = None, axis: int | None = None) -> Tensor:
    scale = along_axis("dequantize", "scale", scale, input, axis).float()
    if zero_point is None:
        return input * scale
    # A float on one side keeps the difference from wrapping around in eight bits.
    return (input - along_axis("dequantize", "zero_point", zero_point, input, axis).float()).mul_(scale)


def along_axis(op: str, name: str, value: Tensor, data: Tensor, axis: int | None) -> Tensor:
    """Return a scalar, or a vector with one value for each index of the axis, in the rank of the data."""
    if value.dim() == 0:
        return value.reshape([1] * data.dim())
    if axis is None or not -data.dim() <= axis < data.dim():
        raise ValueError(f"{op}: axis {axis} is not within the rank {data.dim()} of the data")
    if value.dim() != 1 or len(value) != data.shape[axis]:
        raise ValueError(f"{op}: {name} of shape {tuple(value.shape)} is neither a scalar nor ({data.shape[axis]},)")
    shape = [1] * data.dim()
    shape[axis] = len(value)
    return value.reshape(shape)
