"""Changes of shape and order: reshape, transpose, reverse, and moves between space, batch and depth."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from milrun.registry import op, prepare


def _reshape(x: Tensor, wanted: list[int], shape: list[int]) -> Tensor:
    try:
        return x.reshape(wanted)
    except RuntimeError as error:
        raise ValueError(f"reshape: shape {shape} does not fit an input of shape {tuple(x.shape)}") from error


@prepare("reshape")
def prepare_reshape(shape: list[int]) -> Callable[[Tensor], Tensor] | None:
    return None if 0 in shape else lambda x: x.reshape(shape)


@op("reshape")
def reshape(x: Tensor, shape: list[int]) -> Tensor:
    """Reshape. A 0 stands for the size of the input in the same place."""
    wanted = shape
    if 0 in shape:
        if len(shape) != x.dim():
            raise ValueError(f"reshape: shape {shape} has a 0, but not the rank of the input {tuple(x.shape)}")
        wanted = [size or old for size, old in zip(shape, x.shape, strict=True)]
    return _reshape(x, wanted, shape)


@op("reshape", since="iOS17")
def reshape_ios17(x: Tensor, shape: list[int]) -> Tensor:
    """Reshape. A 0 stands for the input's size in the same place from the right, or for 1 beyond its rank."""
    wanted = shape
    if 0 in shape:
        extra = len(shape) - x.dim()
        wanted = [size or (x.shape[i - extra] if i >= extra else 1) for i, size in enumerate(shape)]
    return _reshape(x, wanted, shape)


@op("reshape_like")
def reshape_like(
    x: Tensor, ref_tensors: list[Tensor], begins: list[Tensor], ends: list[Tensor], end_masks: list[Tensor]
) -> Tensor:
    shape: list[int] = []
    for ref, begin, end, end_mask in zip(ref_tensors, begins, ends, end_masks, strict=True):
        shape += ref.shape[int(begin) : None if end_mask else int(end)]
    return x.reshape(shape)


@op("expand_dims")
def expand_dims(x: Tensor, axes: list[int]) -> Tensor:
    """Insert axes, numbered as in the result."""
    if len(axes) == 1:
        return x.unsqueeze(axes[0])
    rank = x.dim() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


@op("squeeze")
def squeeze(x: Tensor, axes: list[int] | None = None) -> Tensor:
    """Remove axes of size 1 and keep all others."""
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


@op("transpose")
def transpose(x: Tensor, perm: list[int]) -> Tensor:
    return x.permute(perm)


@op("reverse")
def reverse(x: Tensor, axes: list[int] | None = None) -> Tensor:
    return x.flip(tuple(range(x.dim())) if axes is None else axes)


@op("reverse_sequence")
def reverse_sequence(x: Tensor, lengths: Tensor, seq_axis: int = 0, batch_axis: int = 0) -> Tensor:
    """Reverse the first ``lengths[i]`` elements of sequence i, and leave the rest as it is."""
    seq_axis, batch_axis = seq_axis % x.dim(), batch_axis % x.dim()
    if seq_axis == batch_axis:
        raise ValueError(f"reverse_sequence: seq_axis and batch_axis are both {seq_axis}")
    steps = x.shape[seq_axis]
    length = lengths.long()
    if bool(((length < 0) | (length > steps)).any()):
        raise ValueError(f"reverse_sequence: lengths are {length.tolist()}, allowed are 0 to {steps}")
    length = length.reshape([-1 if axis == batch_axis else 1 for axis in range(x.dim())])
    step = torch.arange(steps).reshape([-1 if axis == seq_axis else 1 for axis in range(x.dim())])
    source = torch.where(step < length, length - 1 - step, step)
    return x.gather(seq_axis, source.expand(x.shape))


@op("sliding_windows")
def sliding_windows(x: Tensor, axis: int, size: int, stride: int = 1) -> Tensor:
    axis %= x.dim()
    return x.unfold(axis, size, stride).movedim(-1, axis + 1)


@op("pixel_shuffle")
def pixel_shuffle(x: Tensor, upscale_factor: int) -> Tensor:
    return F.pixel_shuffle(x, upscale_factor)


@op("pixel_unshuffle")
def pixel_unshuffle(x: Tensor, downscale_factor: int) -> Tensor:
    return F.pixel_unshuffle(x, downscale_factor)


@op("depth_to_space")
def depth_to_space(x: Tensor, block_size: int) -> Tensor:
    """Move channels into blocks. The place in the block is the channel's outer part (in pixel_shuffle the inner)."""
    n, c, h, w = x.shape
    blocks = x.reshape(n, block_size, block_size, c // block_size**2, h, w)
    return blocks.permute(0, 3, 4, 1, 5, 2).reshape(n, c // block_size**2, h * block_size, w * block_size)


@op("space_to_depth")
def space_to_depth(x: Tensor, block_size: int) -> Tensor:
    n, c, h, w = x.shape
    blocks = x.reshape(n, c, h // block_size, block_size, w // block_size, block_size)
    return blocks.permute(0, 3, 5, 1, 2, 4).reshape(n, c * block_size**2, h // block_size, w // block_size)


@op("space_to_batch")
def space_to_batch(x: Tensor, block_shape: list[int], paddings: Tensor) -> Tensor:
    (top, bottom), (left, right) = paddings.tolist()
    x = F.pad(x, (left, right, top, bottom))
    n, c, h, w = x.shape
    rows, columns = block_shape
    blocks = x.reshape(n, c, h // rows, rows, w // columns, columns)
    return blocks.permute(3, 5, 0, 1, 2, 4).reshape(n * rows * columns, c, h // rows, w // columns)


@op("batch_to_space")
def batch_to_space(x: Tensor, block_shape: list[int], crops: Tensor) -> Tensor:
    (top, bottom), (left, right) = crops.tolist()
    n, c, h, w = x.shape
    rows, columns = block_shape
    blocks = x.reshape(rows, columns, n // (rows * columns), c, h, w)
    whole = blocks.permute(2, 3, 4, 0, 5, 1).reshape(n // (rows * columns), c, h * rows, w * columns)
    return whole[:, :, top : h * rows - bottom, left : w * columns - right]
