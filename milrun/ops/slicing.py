"""Slices: slice_by_index, slice_by_size, slice_update."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from milrun.registry import op, prepared_op

Index = tuple[int | slice, ...]


def _index(
    op: str,
    begin: list[int],
    end: list[int],
    stride: list[int] | None,
    begin_mask: list[bool] | None,
    end_mask: list[bool] | None,
    squeeze_mask: list[bool] | None,
) -> Index:
    """Return the slice in the notation of Python."""
    rank = len(begin)
    off = [False] * rank
    index: list[int | slice] = []
    axes = zip(begin, end, stride or [1] * rank, begin_mask or off, end_mask or off, squeeze_mask or off, strict=True)
    for first, last, step, from_start, to_end, squeeze in axes:
        if squeeze:
            index.append(0 if from_start else first)
        elif step == 0:
            raise ValueError(f"{op}: stride is {stride}, allowed are all values but 0")
        else:
            index.append(slice(None if from_start else first, None if to_end else last, step))
    return tuple(index)


def _is_backward(index: Index) -> bool:
    return any(isinstance(part, slice) and part.step < 0 for part in index)


def _forward(index: Index, shape: tuple[int, ...]) -> tuple[Index, list[int]]:
    """Return the slice without negative steps, which torch does not have, and the axes of its result to flip."""
    parts: list[int | slice] = []
    flipped: list[int] = []
    axis = 0
    for part, size in zip(index, shape, strict=True):
        if isinstance(part, slice):
            if part.step < 0:
                taken = range(*part.indices(size))
                part = slice(taken[-1], taken[0] + 1, -part.step) if taken else slice(0, 0)
                flipped.append(axis)
            axis += 1
        parts.append(part)
    return tuple(parts), flipped


def _backward(x: Tensor, index: Index) -> Tensor:
    forward, flipped = _forward(index, x.shape)
    return x[forward].flip(flipped)


def _updated(x: Tensor, update: Tensor, index: Index) -> Tensor:
    forward, flipped = _forward(index, x.shape)
    target = x[forward]
    if target.shape != update.shape:
        raise ValueError(f"slice_update: the update has shape {tuple(update.shape)}, the slice {tuple(target.shape)}")
    if flipped:
        update = update.flip(flipped)
    if target.shape == x.shape and update.dtype == x.dtype:
        return update
    result = x.clone()
    result[forward] = update
    return result


def _check_rank(op: str, x: Tensor, given: int) -> None:
    if x.dim() != given:
        raise ValueError(f"{op}: a slice of {given} axes for an input of shape {tuple(x.shape)}")


@prepared_op("slice_by_index", "x")
def slice_by_index(
    begin: list[int],
    end: list[int],
    stride: list[int] | None = None,
    begin_mask: list[bool] | None = None,
    end_mask: list[bool] | None = None,
    squeeze_mask: list[bool] | None = None,
) -> Callable[[Tensor], Tensor]:
    index = _index("slice_by_index", begin, end, stride, begin_mask, end_mask, squeeze_mask)
    rank, backward = len(begin), _is_backward(index)

    def general(x: Tensor) -> Tensor:
        _check_rank("slice_by_index", x, rank)
        return _backward(x, index) if backward else x[index]

    whole = slice(None, None, 1)
    bounds = [(axis, part) for axis, part in enumerate(index) if part != whole]
    if backward or len(bounds) != 1:
        return general
    ((axis, part),) = bounds
    if isinstance(part, int):
        position = part
        return lambda x: x.select(axis, position) if x.dim() == rank else general(x)
    if part.step == 1 and (part.start or 0) >= 0 and part.stop is not None and part.stop >= (part.start or 0):
        first, length, last = part.start or 0, part.stop - (part.start or 0), part.stop
        return lambda x: x.narrow(axis, first, length) if x.dim() == rank and x.shape[axis] >= last else general(x)
    return general


@op("slice_update")
def slice_update(
    x: Tensor,
    update: Tensor,
    begin: list[int],
    end: list[int],
    stride: list[int] | None = None,
    begin_mask: list[bool] | None = None,
    end_mask: list[bool] | None = None,
    squeeze_mask: list[bool] | None = None,
) -> Tensor:
    _check_rank("slice_update", x, len(begin))
    return _updated(x, update, _index("slice_update", begin, end, stride, begin_mask, end_mask, squeeze_mask))


@op("slice_by_size")
def slice_by_size(x: Tensor, begin: list[int], size: list[int]) -> Tensor:
    """Take elements from ``begin`` on. A size of -1 takes all that follow."""
    _check_rank("slice_by_size", x, len(begin))
    for axis, (first, count, whole) in enumerate(zip(begin, size, x.shape, strict=True)):
        if first < 0:
            first += whole
        if count == -1:
            count = whole - first
        if first < 0 or count < 0 or first + count > whole:
            raise ValueError(f"slice_by_size: begin {begin} and size {size} for an input of shape {tuple(x.shape)}")
        if count != whole:
            x = x.narrow(axis, first, count)
    return x
