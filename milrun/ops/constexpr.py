"""Decompression of weights, which runs once when a program is loaded."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from milrun.ops.quantization import along_axis
from milrun.registry import op

_PIECE = 1 << 18
"""Elements worked on at a time: few enough for the cache, and for temporaries to stay small."""

Index = tuple[int | slice, ...]


@op("constexpr_affine_dequantize", since="iOS16")
def constexpr_affine_dequantize(quantized_data: Tensor, zero_point: Tensor, scale: Tensor, axis: int) -> Tensor:
    scale, zero_point = (
        along_axis("constexpr_affine_dequantize", name, value, quantized_data, axis)
        for name, value in (("scale", scale), ("zero_point", zero_point))
    )
    return _shift_scale(quantized_data, scale, zero_point)


@op("constexpr_blockwise_shift_scale", since="iOS18")
def constexpr_blockwise_shift_scale(data: Tensor, scale: Tensor, offset: Tensor | None = None) -> Tensor:
    blocks = _blocks("constexpr_blockwise_shift_scale", data.shape, scale.shape, "scale")
    if offset is not None and offset.shape != scale.shape:
        raise ValueError(
            f"constexpr_blockwise_shift_scale: offset of shape {tuple(offset.shape)} and scale of shape "
            f"{tuple(scale.shape)} differ"
        )
    per_block = _interleave(scale.shape, [1] * scale.dim())
    shifted = None if offset is None else offset.reshape(per_block)
    return _shift_scale(data.reshape(blocks), scale.reshape(per_block), shifted).view(data.shape)


@op("constexpr_sparse_blockwise_shift_scale", since="iOS18")
def constexpr_sparse_blockwise_shift_scale(
    data_mask: Tensor, nonzero_data: Tensor, scale: Tensor, offset: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    mask = data_mask != 0
    data = _scatter("constexpr_sparse_blockwise_shift_scale", nonzero_data, mask)
    return data_mask, _select(constexpr_blockwise_shift_scale(data, scale, offset), mask)


@op("constexpr_cast", since="iOS16")
def constexpr_cast(source_val: Tensor, output_dtype: str) -> Tensor:
    if output_dtype != "fp32":
        raise ValueError(f"constexpr_cast: output_dtype {output_dtype!r} is not 'fp32'")
    return source_val.float()


@op("constexpr_lut_to_dense", since="iOS16")
def constexpr_packed_lut_to_dense(indices: Tensor, lut: Tensor, shape: list[int]) -> Tensor:
    if lut.dim() != 1 or len(lut) not in (2, 4, 16, 64, 256):
        raise ValueError(f"constexpr_lut_to_dense: lut of shape {tuple(lut.shape)} is not of 2, 4, 16, 64, 256 values")
    bits = len(lut).bit_length() - 1
    size = _packed_size("constexpr_lut_to_dense", "indices", indices, bits, shape)
    dense = torch.empty(size, dtype=lut.dtype)
    # Whole triples of bytes, so that no index of six bits is cut in two.
    step = _PIECE // 8 * bits
    for part, packed in zip(torch.split(dense, _PIECE), torch.split(indices, step), strict=True):
        torch.index_select(lut, 0, _unpack(packed, bits)[: len(part)].int(), out=part)
    return dense.view(shape)


@op("constexpr_lut_to_dense", since="iOS18")
def constexpr_lut_to_dense(indices: Tensor, lut: Tensor, vector_axis: int | None = None) -> Tensor:
    return _look_up("constexpr_lut_to_dense", indices, lut, vector_axis)


@op("constexpr_lut_to_sparse", since="iOS18")
def constexpr_lut_to_sparse(
    indices_mask: Tensor, indices_nonzero_data: Tensor, lut: Tensor, vector_axis: int | None = None
) -> tuple[Tensor, Tensor]:
    indices = _scatter("constexpr_lut_to_sparse", indices_nonzero_data, indices_mask != 0)
    dense = _look_up("constexpr_lut_to_sparse", indices, lut, vector_axis)
    mask = indices_mask
    if lut.shape[-1] > 1 and vector_axis is not None:
        mask = mask.repeat_interleave(lut.shape[-1], vector_axis)
    return mask, _select(dense, mask != 0)


@op("constexpr_sparse_to_dense", since="iOS16")
def constexpr_packed_sparse_to_dense(nonzero_data: Tensor, mask: Tensor, shape: list[int]) -> Tensor:
    size = _packed_size("constexpr_sparse_to_dense", "mask", mask, 1, shape)
    bits = _unpack(mask, 1)
    if bits[size:].any():
        raise ValueError(f"constexpr_sparse_to_dense: mask has bits set past the {size} elements of shape {shape}")
    return _scatter("constexpr_sparse_to_dense", nonzero_data, bits[:size].view(torch.bool).view(shape))


@op("constexpr_sparse_to_dense", since="iOS18")
def constexpr_sparse_to_dense(nonzero_data: Tensor, mask: Tensor) -> Tensor:
    return _scatter("constexpr_sparse_to_dense", nonzero_data, mask != 0)


def _shift_scale(data: Tensor, scale: Tensor, offset: Tensor | None) -> Tensor:
    """Return ``scale * (data - offset)`` in fp32, for operands of one rank that broadcast to the shape of the data."""
    scale = scale.float()
    result = torch.empty(data.shape, dtype=torch.float32)
    for index in _pieces(data.shape):
        part, factor = data[index], _part(scale, index)
        if offset is None:
            torch.mul(part, factor, out=result[index])
        else:
            torch.sub(part, _part(offset, index).float(), out=result[index]).mul_(factor)
    return result


def _look_up(op: str, indices: Tensor, lut: Tensor, vector_axis: int | None) -> Tensor:
    """Return the values, or the vectors along an axis, that indices name in the table of their block."""
    rank = indices.dim()
    if rank < 1 or lut.dim() != rank + 2:
        raise ValueError(f"{op}: lut of rank {lut.dim()} does not have two dimensions more than indices of rank {rank}")
    *tables, entries, length = lut.shape
    blocks = _blocks(op, indices.shape, tables, "lut")
    if entries not in (2**bits for bits in range(1, 9)):
        raise ValueError(f"{op}: lut has {entries} entries, which is not a power of 2 up to 256")
    if length < 1 or (vector_axis is None and length > 1):
        raise ValueError(f"{op}: vector_axis {vector_axis} does not go with vectors of {length} values")
    if vector_axis is not None and not -rank <= vector_axis < rank:
        raise ValueError(f"{op}: vector_axis {vector_axis} is not within the rank {rank} of indices")
    if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) < entries:
        raise ValueError(f"{op}: indices reach {int(indices.max())}, past the {entries} entries of lut")

    axis = rank - 1 if vector_axis is None else vector_axis % rank
    shape = list(indices.shape)
    shape[axis] *= length
    dense = torch.empty(shape, dtype=lut.dtype)
    # In this view the vectors lie in the last dimension, and a table serves all of every second dimension.
    view = dense.view([*blocks[: 2 * axis + 2], length, *blocks[2 * axis + 2 :]]).movedim(2 * axis + 2, -1)
    indices = indices.reshape(blocks)
    # torch looks up scalars far faster than rows of one.
    rows = lut.reshape(-1, length) if length > 1 else lut.reshape(-1)
    starts = torch.arange(0, len(rows), entries, dtype=torch.int32).view(_interleave(tables, [1] * rank))
    single = len(rows) == entries
    for index in _pieces(blocks):
        part = indices[index]
        places = part.int() if single else part + _part(starts, index)
        view[index].copy_(rows.index_select(0, places.reshape(-1)).view(*part.shape, length))
    return dense


def _scatter(op: str, values: Tensor, mask: Tensor) -> Tensor:
    """Return the values in the places where the mask is set, in order, and zeros elsewhere."""
    count = int(mask.count_nonzero())
    if values.dim() != 1 or len(values) != count:
        raise ValueError(f"{op}: values of shape {tuple(values.shape)} for {count} bits set in the mask")
    return torch.zeros(mask.shape, dtype=values.dtype).masked_scatter_(mask, values)


def _select(dense: Tensor, mask: Tensor) -> Tensor:
    """Return the values where the mask is set, in order."""
    result = torch.empty(int(mask.count_nonzero()), dtype=dense.dtype)
    start = 0
    parts = (torch.split(tensor.reshape(-1), _PIECE) for tensor in (dense, mask))
    for values, bits in zip(*parts, strict=True):
        places = bits.nonzero().view(-1)
        torch.index_select(values, 0, places, out=result[start : start + len(places)])
        start += len(places)
    return result


def _packed_size(op: str, name: str, packed: Tensor, bits: int, shape: list[int]) -> int:
    """Return the number of elements of a shape, once it is known to match what is packed."""
    size = math.prod(shape)
    if min(shape, default=0) < 0 or packed.dtype != torch.uint8 or packed.shape != (-(-size * bits // 8),):
        raise ValueError(
            f"{op}: {name} of {packed.dtype} and shape {tuple(packed.shape)} does not hold {bits} bits for each "
            f"element of shape {shape}"
        )
    return size


def _unpack(packed: Tensor, bits: int) -> Tensor:
    """Return the numbers of 1, 2, 4, 6 or 8 bits packed into bytes from the least significant bit on, one to a byte."""
    if bits == 8:
        return packed
    if bits == 6:
        low, middle, high = F.pad(packed, (0, -len(packed) % 3)).view(-1, 3).unbind(1)
        four = (low, (low >> 6) | (middle << 2), (middle >> 4) | (high << 4), high >> 2)
        return torch.stack(four, 1).bitwise_and_(63).view(-1)
    return _numbers_of_bytes(bits).index_select(0, packed.int()).view(torch.uint8)


@cache
def _numbers_of_bytes(bits: int) -> Tensor:
    """Return a table of bytes: the 2, 4 or 8 numbers packed in each, as one wide integer that is fast to look up."""
    shifts = torch.arange(0, 8, bits)
    numbers = (torch.arange(256)[:, None] >> shifts) & (2**bits - 1)
    wide = {2: torch.int16, 4: torch.int32, 8: torch.int64}[len(shifts)]
    return numbers.to(torch.uint8).view(wide).view(-1)


def _blocks(op: str, shape: Sequence[int], counts: Sequence[int], name: str) -> list[int]:
    """Return the shape with each dimension cut into a number of blocks and the size of a block."""
    if len(counts) != len(shape) or not shape:
        raise ValueError(f"{op}: {name} of shape {tuple(counts)} does not have the rank of data of {tuple(shape)}")
    if any(count < 1 or size % count for size, count in zip(shape, counts, strict=True)):
        raise ValueError(f"{op}: {name} of shape {tuple(counts)} does not divide data of shape {tuple(shape)}")
    return _interleave(counts, [size // count for size, count in zip(shape, counts, strict=True)])


def _interleave(first: Sequence[int], second: Sequence[int]) -> list[int]:
    return [size for pair in zip(first, second, strict=True) for size in pair]


def _pieces(shape: Sequence[int]) -> Iterator[Index]:
    """Return indices along the leading dimensions that cut a shape into pieces of about ``_PIECE`` elements at most."""
    if not shape:
        yield ()
    inner = math.prod(shape)
    for depth, size in enumerate(shape):
        inner //= max(size, 1)
        if inner <= _PIECE:
            step = max(1, _PIECE // max(inner, 1))
            for outer in itertools.product(*map(range, shape[:depth])):
                for start in range(0, size, step):
                    yield *outer, slice(start, start + step)
            return


def _part(tensor: Tensor, index: Index) -> Tensor:
    """Return the piece of a tensor that goes with a piece of another to whose shape it broadcasts."""
    sole = (slice(None) if isinstance(i, slice) else 0 for i in index)
    return tensor[tuple(i if size > 1 else one for size, i, one in zip(tensor.shape, index, sole, strict=False))]
