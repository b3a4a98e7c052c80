"""Making, joining, splitting, padding and counting tensors."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from milrun.registry import op, prepare, prepared_op


@op("band_part")
def band_part(x: Tensor, lower: int = -1, upper: int = -1) -> Tensor:
    """Set zeros outside a band of diagonals; a negative count keeps all diagonals on that side."""
    if lower >= 0:
        x = x.triu(-lower)
    return x.tril(upper) if upper >= 0 else x


@op("cumsum")
def cumsum(x: Tensor, axis: int = 0, exclusive: bool = False, reverse: bool = False) -> Tensor:
    if reverse:
        x = x.flip(axis)
    y = x.cumsum(axis)
    if exclusive and x.shape[axis]:
        y = torch.cat([torch.zeros_like(y.narrow(axis, 0, 1)), y.narrow(axis, 0, x.shape[axis] - 1)], axis)
    return y.flip(axis) if reverse else y


@op("fill")
def fill(shape: list[int], value: Tensor | None = None) -> Tensor:
    return _filled(shape, value)


@op("fill_like")
def fill_like(ref_tensor: Tensor, value: Tensor | None = None) -> Tensor:
    return _filled(list(ref_tensor.shape), value)


def _filled(shape: list[int], value: Tensor | None) -> Tensor:
    return torch.zeros(shape) if value is None else torch.full(shape, value.item(), dtype=value.dtype)


@op("non_zero")
def non_zero(x: Tensor) -> Tensor:
    return x.nonzero()


@op("one_hot")
def one_hot(
    indices: Tensor,
    one_hot_vector_size: int,
    axis: int = -1,
    on_value: Tensor | None = None,
    off_value: Tensor | None = None,
) -> Tensor:
    """Place classes on a new axis. An index outside the vector gives a vector without an ``on_value``."""
    on = torch.tensor(1, dtype=torch.int32) if on_value is None else on_value
    off = torch.zeros_like(on) if off_value is None else off_value
    axis %= indices.dim() + 1
    classes = torch.arange(one_hot_vector_size).reshape([-1] + [1] * (indices.dim() - axis))
    return torch.where(indices.unsqueeze(axis) == classes, on, off)


_PAD_MODES = ("constant", "reflect", "replicate")


@prepared_op("pad", "x")
def pad(pad: list[int], mode: str = "constant", constant_val: float = 0.0) -> Callable[[Tensor], Tensor]:
    """Pad by the amounts before and after each of the last axes."""
    if mode not in _PAD_MODES:
        raise ValueError(f"pad: mode is {mode!r}, allowed are {', '.join(_PAD_MODES)}")
    if len(pad) % 2 or min(pad, default=0) < 0:
        raise ValueError(f"pad: pad is {pad}, allowed are two amounts from 0 up for each of the last axes")
    # Axes are counted from the last one, as -1.
    pairs = list(zip(range(-(len(pad) // 2), 0), pad[::2], pad[1::2], strict=True))
    while pairs and pairs[0][1:] == (0, 0):
        pairs.pop(0)
    tail = [size for _, before, after in reversed(pairs) for size in (before, after)]
    amounts = [pair for pair in pairs if pair[1:] != (0, 0)]
    inner = len(pairs)

    def check(x: Tensor) -> None:
        if mode == "reflect" and any(max(before, after) >= x.shape[axis] for axis, before, after in amounts):
            raise ValueError(f"pad: pad is {pad}, too much to reflect an input of shape {tuple(x.shape)}")

    def run(x: Tensor) -> Tensor:
        rank = x.dim()
        if len(pad) > 2 * rank:
            raise ValueError(f"pad: pad is {pad}, allowed are two amounts from 0 up for each of the last axes")
        if not amounts:
            return x
        if mode == "constant":
            return F.pad(x, tail, value=constant_val)
        if inner <= 3 and x.is_floating_point() and x.numel() and rank in (inner + 1, inner + 2):
            try:
                return F.pad(x, tail, mode=mode)
            except RuntimeError:
                check(x)
                raise
        check(x)
        if inner <= 3 and x.is_floating_point() and x.numel():
            padded = F.pad(x.reshape(-1, *x.shape[rank - inner :]), tail, mode=mode)
            return padded.reshape(*x.shape[: rank - inner], *padded.shape[1:])
        for axis, before, after in amounts:
            x = x.index_select(axis, _border(x.shape[axis], before, after, mode))
        return x

    return run


def _border(size: int, before: int, after: int, mode: str) -> Tensor:
    """Return the indices from which the elements of a padded axis come."""
    position = torch.arange(-before, size + after)
    if mode == "replicate":
        return position.clamp(0, size - 1)
    return (size - 1) - ((size - 1) - position.abs()).abs()


@op("range_1d")
def range_1d(end: Tensor, start: Tensor, step: Tensor) -> Tensor:
    """Count up from ``start``. The number of elements is computed in the operands' type, as in type inference."""
    first, last, stride = start.item(), end.item(), step.item()
    if stride == 0:
        raise ValueError("range_1d: step is 0, allowed are all values but 0")
    exact = torch.float64 if start.is_floating_point() else torch.int64
    count = math.ceil(((end - start) / step).item()) if start.is_floating_point() else -((first - last) // stride)
    return (torch.arange(max(0, count), dtype=exact) * stride + first).to(start.dtype)


@prepare("tile")
def prepare_tile(reps: list[int]) -> Callable[[Tensor], Tensor] | None:
    """Expand a single axis of size 1, which needs no memory to be repeated."""
    repeated = [axis for axis, rep in enumerate(reps) if rep != 1]
    if len(repeated) != 1 or min(reps) < 1:
        return None
    (axis,) = repeated
    sizes = [rep if rep > 1 else -1 for rep in reps]

    def kernel(x: Tensor) -> Tensor:
        return x.expand(sizes) if x.dim() == len(reps) and x.shape[axis] == 1 else tile(x, reps)

    return kernel


@op("tile")
def tile(x: Tensor, reps: list[int]) -> Tensor:
    if len(reps) != x.dim():
        raise ValueError(f"tile: reps {reps} for an input of shape {tuple(x.shape)}")
    if all(rep == 1 or size == 1 for rep, size in zip(reps, x.shape, strict=True)):
        return x.expand([rep * size for rep, size in zip(reps, x.shape, strict=True)])
    return x.repeat(reps)


@op("flatten2d")
def flatten2d(x: Tensor, axis: int = 1) -> Tensor:
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@op("shape")
def shape(x: Tensor) -> Tensor:
    return torch.tensor(x.shape, dtype=torch.int32)


@op("concat")
def concat(values: list[Tensor], axis: int, interleave: bool = False) -> Tensor:
    """Join values. With ``interleave`` the elements of the axis alternate between the values."""
    if values[0].dim() == 0:
        return torch.stack(values)
    if not interleave:
        return torch.cat(values, axis)
    axis %= values[0].dim()
    return torch.stack(values, axis + 1).flatten(axis, axis + 1)


@prepare("split")
def prepare_split(
    axis: int, num_splits: int | None = None, split_sizes: list[int] | None = None
) -> Callable[[Tensor], tuple[Tensor, ...]] | None:
    if split_sizes is None or min(split_sizes, default=0) < 0:
        return None
    return lambda x: x.split_with_sizes(split_sizes, axis)


@op("split")
def split(
    x: Tensor, axis: int, num_splits: int | None = None, split_sizes: list[int] | None = None
) -> tuple[Tensor, ...]:
    size = x.shape[axis]
    if split_sizes is None:
        if num_splits is None:
            raise ValueError("split: neither num_splits nor split_sizes is given")
        if num_splits < 1 or size % num_splits:
            raise ValueError(f"split: num_splits is {num_splits}, allowed are divisors of {size}")
        split_sizes = [size // num_splits] * num_splits
    if sum(split_sizes) != size or min(split_sizes, default=0) < 0:
        raise ValueError(f"split: split_sizes are {split_sizes} for an axis of {size}")
    return x.split_with_sizes(split_sizes, axis)


@op("stack")
def stack(values: list[Tensor], axis: int) -> Tensor:
    return torch.stack(values, axis)
