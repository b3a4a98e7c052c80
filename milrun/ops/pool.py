"""Pooling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from milrun.ops.conv import fixed_padding, innermost_first, per_dimension, same_padding
from milrun.registry import prepared_op

_MAX_WINDOWS = 1 << 24
_MAX: tuple[Callable[..., Tensor], ...] = (torch.max_pool1d, torch.max_pool2d, torch.max_pool3d)
_AVERAGE: tuple[Callable[..., Tensor], ...] = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)


@prepared_op("max_pool", "x")
def max_pool(
    kernel_sizes: list[int],
    pad_type: str,
    strides: list[int] | None = None,
    pad: list[int] | None = None,
    ceil_mode: bool = False,
) -> Callable[..., Tensor]:
    layout = _layout("max_pool", kernel_sizes, pad_type, strides, pad, ceil_mode)
    pool = _MAX[len(kernel_sizes) - 1]

    def run(x: Tensor) -> Tensor:
        windows = layout(x.shape[2:])
        if windows.both is not None:
            return pool(x, kernel_sizes, windows.strides, windows.both, 1, ceil_mode)
        return pool(F.pad(x, windows.pad, value=-torch.inf), kernel_sizes, windows.strides)

    return run


@prepared_op("avg_pool", "x")
def avg_pool(
    kernel_sizes: list[int],
    pad_type: str,
    strides: list[int] | None = None,
    pad: list[int] | None = None,
    exclude_padding_from_average: bool = False,
    ceil_mode: bool = False,
) -> Callable[..., Tensor]:
    layout = _layout("avg_pool", kernel_sizes, pad_type, strides, pad, ceil_mode)
    pool = _AVERAGE[len(kernel_sizes) - 1]
    include = not exclude_padding_from_average

    def run(x: Tensor) -> Tensor:
        windows = layout(x.shape[2:])
        if windows.both is not None:
            return pool(x, kernel_sizes, windows.strides, windows.both, ceil_mode, include)
        padded = F.pad(x, windows.pad)
        count = windows.padded_count if include else windows.inner_count
        return _sums(padded, kernel_sizes, windows.strides).div_(count)

    return run


@prepared_op("l2_pool", "x")
def l2_pool(
    kernel_sizes: list[int],
    pad_type: str,
    strides: list[int] | None = None,
    pad: list[int] | None = None,
    ceil_mode: bool = False,
) -> Callable[..., Tensor]:
    layout = _layout("l2_pool", kernel_sizes, pad_type, strides, pad, ceil_mode)

    def run(x: Tensor) -> Tensor:
        windows = layout(x.shape[2:])
        squares = F.pad(x.square(), windows.pad) if any(windows.pad) else x.square()
        return _sums(squares, kernel_sizes, windows.strides).sqrt_()

    return run


@dataclass(frozen=True)
class _Windows:
    """Positions of the windows on an input of a given size."""

    strides: list[int]
    pad: list[int]
    """Padding of the input, in torch's order, under which just the wanted windows fit."""
    both: list[int] | None
    """The same as torch's own padding on both sides, where that comes to the same windows."""
    padded_count: Tensor
    """Elements of the input and its declared padding that each window covers."""
    inner_count: Tensor
    """Elements of the input itself that each window covers."""


def _layout(
    op: str,
    kernel_sizes: list[int],
    pad_type: str,
    strides: list[int] | None,
    pad: list[int] | None,
    ceil_mode: bool,
) -> Callable[[Any], _Windows]:
    count = len(kernel_sizes)
    if not 1 <= count <= 3:
        raise ValueError(f"{op}: kernel_sizes {kernel_sizes} is not of 1, 2 or 3 dimensions")
    kernel = per_dimension(op, "kernel_sizes", kernel_sizes, count)
    steps = per_dimension(op, "strides", strides, count)
    pad_type = pad_type.lower()
    fixed = fixed_padding(op, pad_type, pad, kernel, steps)
    if ceil_mode and pad_type.startswith("same"):
        raise ValueError(f"{op}: ceil_mode goes with pad_type 'valid' or 'custom', not {pad_type!r}")
    if ceil_mode and fixed and any(before != after for before, after in fixed):
        raise ValueError(f"{op}: pad {pad} is not symmetric, which ceil_mode needs")

    @lru_cache(maxsize=64)
    def layout(sizes: tuple[int, ...]) -> _Windows:
        amounts = same_padding(sizes, kernel, steps, pad_type == "same_lower") if fixed is None else fixed
        needed, padded, inner, native = [], [], [], True
        for size, k, step, (before, after) in zip(sizes, kernel, steps, amounts, strict=True):
            windows = (size + before + after - k) // step + 1
            if ceil_mode:
                windows = -(-(size + before + after - k) // step) + 1
                if before + after > 0 and (windows - 1) * step >= size + before:
                    windows -= 1
                elif (windows - 1) * step >= size + before:
                    raise ValueError(f"{op}: ceil_mode adds a window that lies past the end of {size} elements")
            if windows < 1:
                raise ValueError(f"{op}: a kernel of {k} does not fit {size} elements padded by {before} and {after}")
            if windows > _MAX_WINDOWS:
                raise ValueError(f"{op}: {windows} windows along one dimension, {_MAX_WINDOWS} are allowed")
            starts = [i * step - before for i in range(windows)]
            needed.append((before, max(0, starts[-1] + k - size)))
            padded.append([min(start + k, size + after) - start for start in starts])
            inner.append([max(0, min(start + k, size) - max(start, 0)) for start in starts])
            # torch's average in three dimensions wants inputs no smaller than the kernel, padded or not.
            native = native and before == after and before <= k // 2 and (count < 3 or size >= k)
        return _Windows(
            steps,
            innermost_first(needed),
            [before for before, _ in amounts] if native else None,
            _outer(padded),
            _outer(inner),
        )

    return layout


def _outer(factors: list[list[int]]) -> Tensor:
    """Return the products of one factor of each list, as a tensor with one dimension for each list."""
    result = torch.ones(())
    for values in factors:
        result = result[..., None] * torch.tensor(values, dtype=torch.float32)
    return result


def _sums(x: Tensor, kernel: list[int], strides: list[int]) -> Tensor:
    if len(kernel) == 1:
        # There is no one-dimensional sum over windows in torch.
        return F.avg_pool2d(x[:, :, None], (1, *kernel), (1, *strides), divisor_override=1)[:, :, 0]
    return _AVERAGE[len(kernel) - 1](x, kernel, strides, divisor_override=1)
