"""Gathering and scattering by index.

A negative index counts from the end, unless indices are validated. An index outside the axis is an error in every
case: where the specification leaves it undefined, an error is the only answer that cannot be silently wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from milrun.registry import op, prepare


def _resolve(op: str, indices: Tensor, size: int, validate: bool) -> Tensor:
    """Return indices as int64 in the range of an axis of this size."""
    index = indices.long()
    if index.numel() == 0:
        return index
    low, high = (int(bound) for bound in index.aminmax())
    if high >= size or low < (0 if validate else -size):
        wrong = high if high >= size else low
        raise ValueError(f"{op}: index {wrong} is out of range for an axis of {size}")
    return torch.where(index < 0, index + size, index) if low < 0 else index


def _resolve_tuples(op: str, indices: Tensor, sizes: Sequence[int], validate: bool) -> Tensor:
    """Return the index tuples along the last axis as positions in the flattened leading axes of these sizes."""
    position = torch.zeros(indices.shape[:-1], dtype=torch.int64)
    for component, size in zip(indices.unbind(-1), sizes, strict=True):
        position = position * size + _resolve(op, component, size, validate)
    return position


def _select(x: Tensor, axis: int, index: Tensor) -> Tensor:
    if index.dim() == 1:
        return x.index_select(axis, index)
    return x.index_select(axis, index.reshape(-1)).reshape(x.shape[:axis] + index.shape + x.shape[axis + 1 :])


@prepare("gather")
def prepare_gather(
    indices: Tensor, axis: int = 0, batch_dims: int = 0, validate_indices: bool = False
) -> Callable[[Tensor], Tensor] | None:
    negative = bool((indices < 0).any())
    if batch_dims or (negative and (validate_indices or indices.dim() > 0)):
        return None
    if indices.dim() == 0:
        position = int(indices)
        return lambda x: x.select(axis, position)
    index = indices.long()
    return lambda x: _select(x, axis % x.dim(), index)


@op("gather")
def gather(x: Tensor, indices: Tensor, axis: int = 0, batch_dims: int = 0, validate_indices: bool = False) -> Tensor:
    axis %= x.dim()
    index = _resolve("gather", indices, x.shape[axis], validate_indices)
    if batch_dims == 0:
        return x.select(axis, int(index)) if index.dim() == 0 else _select(x, axis, index)
    batch, between, after = x.shape[:batch_dims], x.shape[batch_dims:axis], x.shape[axis + 1 :]
    if index.shape[:batch_dims] != batch:
        raise ValueError(f"gather: indices of shape {tuple(index.shape)} for batch dimensions {tuple(batch)}")
    rows = torch.arange(math.prod(batch) * math.prod(between)).reshape(math.prod(batch), math.prod(between), 1)
    position = rows * x.shape[axis] + index.reshape(math.prod(batch), 1, math.prod(index.shape[batch_dims:]))
    flat = x.reshape(math.prod(x.shape[: axis + 1]), *after)
    return flat.index_select(0, position.reshape(-1)).reshape(batch + between + index.shape[batch_dims:] + after)


def _check_aligned(op: str, data: Tensor, indices: Tensor, axis: int) -> None:
    expected = list(data.shape)
    expected[axis] = indices.shape[axis]
    if list(indices.shape) != expected:
        raise ValueError(f"{op}: indices have shape {tuple(indices.shape)} instead of {tuple(expected)}")


@op("gather_along_axis")
def gather_along_axis(x: Tensor, indices: Tensor, axis: int = 0, validate_indices: bool = False) -> Tensor:
    _check_aligned("gather_along_axis", x, indices, axis)
    return x.gather(axis, _resolve("gather_along_axis", indices, x.shape[axis], validate_indices))


@op("gather_nd")
def gather_nd(x: Tensor, indices: Tensor, batch_dims: int = 0, validate_indices: bool = False) -> Tensor:
    depth = batch_dims + indices.shape[-1]
    batch = x.shape[:batch_dims]
    if indices.shape[:batch_dims] != batch:
        raise ValueError(f"gather_nd: indices of shape {tuple(indices.shape)} for batch dimensions {tuple(batch)}")
    position = _resolve_tuples("gather_nd", indices, x.shape[batch_dims:depth], validate_indices)
    if batch_dims:
        rows = torch.arange(math.prod(batch)).reshape(batch + (1,) * (position.dim() - batch_dims))
        position = position + rows * math.prod(x.shape[batch_dims:depth])
    rest = x.shape[depth:]
    flat = x.reshape(math.prod(x.shape[:depth]), *rest)
    return flat.index_select(0, position.reshape(-1)).reshape(position.shape + rest)


def _update(data: Tensor, axis: int, index: Tensor, updates: Tensor) -> Tensor:
    return data.scatter(axis, index, updates)  # in order: of several updates of one element the last one stays


def _add(data: Tensor, axis: int, index: Tensor, updates: Tensor) -> Tensor:
    return data.scatter_add(axis, index, updates)


def _sub(data: Tensor, axis: int, index: Tensor, updates: Tensor) -> Tensor:
    return data.scatter_add(axis, index, -updates)


def _mul(data: Tensor, axis: int, index: Tensor, updates: Tensor) -> Tensor:
    return data.scatter_reduce(axis, index, updates, "prod")


def _div(data: Tensor, axis: int, index: Tensor, updates: Tensor) -> Tensor:
    divisor = torch.ones_like(data).scatter_reduce(axis, index, updates, "prod")
    if data.is_floating_point():
        return torch.div(data, divisor)
    # In int64, because the processor traps on the smallest int32 divided by -1.
    return torch.div(data.long(), divisor.long(), rounding_mode="trunc").to(data.dtype)


def _max(data: Tensor, axis: int, index: Tensor, updates: Tensor) -> Tensor:
    return data.scatter_reduce(axis, index, updates, "amax")


def _min(data: Tensor, axis: int, index: Tensor, updates: Tensor) -> Tensor:
    return data.scatter_reduce(axis, index, updates, "amin")


_MODES = {"update": _update, "add": _add, "sub": _sub, "mul": _mul, "div": _div, "max": _max, "min": _min}


def _combine(op: str, mode: str, data: Tensor, axis: int, index: Tensor, updates: Tensor) -> Tensor:
    if mode not in _MODES:
        raise ValueError(f"{op}: mode is {mode!r}, allowed are {', '.join(_MODES)}")
    return _MODES[mode](data, axis, index, updates)


def _check_updates(op: str, updates: Tensor, expected: Sequence[int]) -> None:
    if tuple(updates.shape) != tuple(expected):
        raise ValueError(f"{op}: updates have shape {tuple(updates.shape)} instead of {tuple(expected)}")


def _rows(op: str, mode: str, data: Tensor, axis: int, index: Tensor, updates: Tensor) -> Tensor:
    """Scatter whole slices of an axis: the slices of updates belong to the elements of a rank-1 index."""
    shape = [1] * data.dim()
    shape[axis] = len(index)
    return _combine(op, mode, data, axis, index.reshape(shape).expand_as(updates), updates)


@op("scatter")
def scatter(
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    axis: int = 0,
    mode: str = "add",
    validate_indices: bool = False,
) -> Tensor:
    axis %= data.dim()
    before, after = data.shape[:axis], data.shape[axis + 1 :]
    _check_updates("scatter", updates, before + indices.shape + after)
    index = _resolve("scatter", indices, data.shape[axis], validate_indices).reshape(-1)
    return _rows("scatter", mode, data, axis, index, updates.reshape(*before, len(index), *after))


@op("scatter_along_axis")
def scatter_along_axis(
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    axis: int = 0,
    mode: str = "add",
    validate_indices: bool = False,
) -> Tensor:
    _check_updates("scatter_along_axis", updates, indices.shape)
    _check_aligned("scatter_along_axis", data, indices, axis)
    index = _resolve("scatter_along_axis", indices, data.shape[axis], validate_indices)
    return _combine("scatter_along_axis", mode, data, axis, index, updates)


@op("scatter_nd")
def scatter_nd(
    data: Tensor, indices: Tensor, updates: Tensor, mode: str = "add", validate_indices: bool = False
) -> Tensor:
    depth = indices.shape[-1]
    rest = data.shape[depth:]
    _check_updates("scatter_nd", updates, indices.shape[:-1] + rest)
    index = _resolve_tuples("scatter_nd", indices, data.shape[:depth], validate_indices).reshape(-1)
    flat = data.reshape(math.prod(data.shape[:depth]), *rest)
    return _rows("scatter_nd", mode, flat, 0, index, updates.reshape(len(index), *rest)).reshape(data.shape)
