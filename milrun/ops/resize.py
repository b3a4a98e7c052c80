"""Resizing and cropping of images."""

from __future__ import annotations

import ctypes
import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from milrun.registry import op

SAMPLING_MODES = ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "UNALIGN_CORNERS", "DEFAULT", "OFFSET_CORNERS")
_CACHED_AXES = 512


@op("crop")
def crop(x: Tensor, crop_height: list[int], crop_width: list[int]) -> Tensor:
    for name, amounts, size in ("crop_height", crop_height, x.shape[-2]), ("crop_width", crop_width, x.shape[-1]):
        if len(amounts) != 2 or min(amounts) < 0 or sum(amounts) > size:
            raise ValueError(f"crop: {name} {amounts} is not two amounts that fit {size} elements")
    (top, bottom), (left, right) = crop_height, crop_width
    return x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]


@op("resize")
def resize(
    x: Tensor,
    shape: list[int],
    resized_dims: int,
    interpolation_mode: str = "LINEAR",
    sampling_mode: str = "DEFAULT",
) -> Tensor:
    if not 0 <= resized_dims <= len(shape) <= x.dim():
        raise ValueError(
            f"resize: resized_dims {resized_dims}, {len(shape)} elements of shape and rank {x.dim()} do not ascend"
        )
    _check_mode("resize", sampling_mode)
    wanted = shape[len(shape) - resized_dims :]
    sizes = [size or x.shape[i - resized_dims] for i, size in enumerate(wanted)]
    if interpolation_mode == "LINEAR":
        return _linear(x, sizes, sampling_mode)
    if interpolation_mode == "NEAREST_NEIGHBOR":
        return _nearest(x, sizes, sampling_mode)
    raise ValueError(f"resize: interpolation_mode {interpolation_mode!r} is not 'LINEAR' or 'NEAREST_NEIGHBOR'")


@op("resize_bilinear")
def resize_bilinear(
    x: Tensor, target_size_height: int = 1, target_size_width: int = 1, sampling_mode: str = "DEFAULT"
) -> Tensor:
    _check_mode("resize_bilinear", sampling_mode)
    return _linear(x, [target_size_height, target_size_width], sampling_mode)


@op("resize_nearest_neighbor")
def resize_nearest_neighbor(x: Tensor, target_size_height: int, target_size_width: int) -> Tensor:
    return _nearest(x, [target_size_height, target_size_width], "DEFAULT")


@op("upsample_bilinear")
def upsample_bilinear(
    x: Tensor,
    scale_factor_height: float = 1.0,
    scale_factor_width: float = 1.0,
    align_corners: bool = True,
    half_pixel_centers: bool | None = None,
) -> Tensor:
    if align_corners and half_pixel_centers:
        raise ValueError("upsample_bilinear: half_pixel_centers True does not go with align_corners True, only False")
    unaligned = "DEFAULT" if half_pixel_centers is False else "UNALIGN_CORNERS"
    mode = "STRICT_ALIGN_CORNERS" if align_corners else unaligned
    return _linear(x, _scaled(x, scale_factor_height, scale_factor_width), mode)


@op("upsample_nearest_neighbor")
def upsample_nearest_neighbor(x: Tensor, scale_factor_height: float = 1.0, scale_factor_width: float = 1.0) -> Tensor:
    return _nearest(x, _scaled(x, scale_factor_height, scale_factor_width), "FLOOR")


def sample_points(mode: str, size: Tensor, count: int) -> Tensor:
    """Return the position of each of ``count`` samples, in a new last dimension, for axes of the given sizes."""
    size = size[..., None]
    i = torch.arange(count, dtype=size.dtype)
    if mode == "ALIGN_CORNERS" and count == 1:
        points = (size - 1) / 2
    elif mode in ("ALIGN_CORNERS", "STRICT_ALIGN_CORNERS"):
        points = i * (size - 1) / max(count - 1, 1)
    elif mode == "DEFAULT":
        points = i * size / count
    elif mode == "OFFSET_CORNERS":
        points = (i + 0.5) * (size - 1).clamp(min=1) / count
    else:
        points = (i + 0.5) * size / count - 0.5
    return points.clamp(min=0).minimum(size - 1)


def _check_mode(op: str, mode: str) -> None:
    if mode not in SAMPLING_MODES:
        raise ValueError(f"{op}: sampling_mode {mode!r} is not one of {', '.join(map(repr, SAMPLING_MODES))}")


def _scaled(x: Tensor, *factors: float) -> list[int]:
    """Return the sizes of the last dimensions times the factors, rounded to fp32 as the declared shape was."""
    sizes = x.shape[x.dim() - len(factors) :]
    return [math.floor(ctypes.c_float(size * factor).value) for size, factor in zip(sizes, factors, strict=True)]


def _linear(x: Tensor, sizes: list[int], mode: str) -> Tensor:
    """Return the last dimensions resized by linear interpolation."""
    if not x.is_floating_point():
        x = x.double()
    aligned = mode == "STRICT_ALIGN_CORNERS" or (mode == "ALIGN_CORNERS" and 1 not in sizes)
    if len(sizes) == 2 and (aligned or mode == "UNALIGN_CORNERS") and x.numel():
        return F.interpolate(_image(x), sizes, mode="bilinear", align_corners=aligned).reshape(*x.shape[:-2], *sizes)
    for dim in range(-1, -len(sizes) - 1, -1):
        axis = _linear_axis(mode, x.shape[dim], sizes[dim], x.dtype)
        if axis is not None:
            below, above, weight = axis
            weight = weight.view(-1, *[1] * (-1 - dim))
            x = torch.lerp(x.index_select(dim, below), x.index_select(dim, above), weight)
    return x


def _nearest(x: Tensor, sizes: list[int], mode: str) -> Tensor:
    """Return the last dimensions resized by picking the nearest elements."""
    if len(sizes) == 2 and x.dtype in (torch.float16, torch.float32) and x.numel():
        height, width = x.shape[-2:]
        kernels = _nearest_kernels(mode, height, sizes[0]) & _nearest_kernels(mode, width, sizes[1])
        if kernels:
            return F.interpolate(_image(x), sizes, mode=min(kernels)).reshape(*x.shape[:-2], *sizes)
    for dim in range(-1, -len(sizes) - 1, -1):
        if sizes[dim] != x.shape[dim]:
            x = x.index_select(dim, _nearest_axis(mode, x.shape[dim], sizes[dim]))
    return x


def _image(x: Tensor) -> Tensor:
    """Return a tensor of rank 4, as torch's kernels for images want it."""
    return x if x.dim() == 4 else x.reshape(1, -1, *x.shape[-2:])


@lru_cache(_CACHED_AXES)
def _linear_axis(mode: str, size: int, count: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor] | None:
    """Return the elements below and above each sample and the weight of the latter; None where nothing moves."""
    points = sample_points(mode, torch.tensor(size, dtype=torch.float64), count)
    below = points.long()
    if size == count and torch.equal(points, torch.arange(count, dtype=torch.float64)):
        return None
    return below, (below + 1).clamp(max=size - 1), (points - below).to(dtype)


@lru_cache(_CACHED_AXES)
def _nearest_axis(mode: str, size: int, count: int) -> Tensor:
    """Return the element that each sample picks."""
    i = torch.arange(count)
    if mode == "FLOOR":
        return i * size // count
    if mode in ("DEFAULT", "UNALIGN_CORNERS"):
        # The expected values of the format's own tests show DEFAULT to round between pixel centres here.
        return (2 * i + 1) * size // (2 * count)
    points = sample_points(mode, torch.tensor(size, dtype=torch.float64), count)
    return (points + 0.5).long().clamp(max=size - 1)


@lru_cache(_CACHED_AXES)
def _nearest_kernels(mode: str, size: int, count: int) -> frozenset[str]:
    """Return the modes of torch's interpolation that pick these very elements; they compute positions in fp32."""
    kernels = frozenset(("nearest", "nearest-exact"))
    if size == count:
        return kernels
    if size > 1 << 24:
        return frozenset()
    column = torch.arange(size, dtype=torch.float32).view(1, 1, -1, 1).expand(1, 2, -1, 2)
    images = [column.contiguous(memory_format=m) for m in (torch.contiguous_format, torch.channels_last)]
    wanted = _nearest_axis(mode, size, count).float()

    def agrees(kernel: str) -> bool:
        return all(torch.equal(F.interpolate(x, (count, 2), mode=kernel)[0, 0, :, 0], wanted) for x in images)

    return frozenset(filter(agrees, kernels))
