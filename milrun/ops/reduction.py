"""Reductions over axes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from milrun.registry import op


def _over(x: Tensor, axes: list[int] | None, keep_dims: bool) -> tuple[Tensor, list[int], bool]:
    """Return the arguments of a torch reduction, for which an empty list of axes means all of them.

    In MIL a missing list means all axes, and an empty one none, as the declared shape of the result says: every
    element is then a reduction of its own.
    """
    if axes is None:
        return x, list(range(x.dim())), keep_dims
    if not axes:
        return x.unsqueeze(0), [0], False
    return x, axes, keep_dims


def _real(x: Tensor) -> Tensor:
    """Convert integers to float64: it holds every int32 and keeps logarithms and roots on their side of an integer."""
    return x if x.is_floating_point() else x.double()


@op("reduce_sum")
def reduce_sum(x: Tensor, axes: list[int] | None = None, keep_dims: bool = False) -> Tensor:
    return torch.sum(*_over(x, axes, keep_dims))


@op("reduce_mean")
def reduce_mean(x: Tensor, axes: list[int] | None = None, keep_dims: bool = False) -> Tensor:
    x, over, keep = _over(x, axes, keep_dims)
    if x.is_floating_point():
        return torch.mean(x, over, keep)
    return torch.div(torch.sum(x, over, keep), math.prod(x.shape[axis] for axis in over), rounding_mode="trunc")


@op("reduce_max")
def reduce_max(x: Tensor, axes: list[int] | None = None, keep_dims: bool = False) -> Tensor:
    return torch.amax(*_over(x, axes, keep_dims))


@op("reduce_min")
def reduce_min(x: Tensor, axes: list[int] | None = None, keep_dims: bool = False) -> Tensor:
    return torch.amin(*_over(x, axes, keep_dims))


@op("reduce_prod")
def reduce_prod(x: Tensor, axes: list[int] | None = None, keep_dims: bool = False) -> Tensor:
    x, over, keep = _over(x, axes, keep_dims)
    for axis in sorted((axis % x.dim() for axis in over), reverse=True):
        x = torch.prod(x, axis, keep)
    return x


@op("reduce_l1_norm")
def reduce_l1_norm(x: Tensor, axes: list[int] | None = None, keep_dims: bool = False) -> Tensor:
    return torch.sum(*_over(torch.abs(x), axes, keep_dims))


# torch.linalg.vector_norm would save a pass, but adds up one element after the other: a million of them cost it
# five digits more than the pairwise torch.sum.
@op("reduce_l2_norm")
def reduce_l2_norm(x: Tensor, axes: list[int] | None = None, keep_dims: bool = False) -> Tensor:
    return torch.sum(*_over(torch.square(_real(x)), axes, keep_dims)).sqrt_()


@op("reduce_sum_square")
def reduce_sum_square(x: Tensor, axes: list[int] | None = None, keep_dims: bool = False) -> Tensor:
    return torch.sum(*_over(torch.mul(x, x), axes, keep_dims))


@op("reduce_log_sum")
def reduce_log_sum(x: Tensor, axes: list[int] | None = None, keep_dims: bool = False) -> Tensor:
    return torch.log(_real(torch.sum(*_over(x, axes, keep_dims))))


@op("reduce_log_sum_exp")
def reduce_log_sum_exp(x: Tensor, axes: list[int] | None = None, keep_dims: bool = False) -> Tensor:
    return torch.logsumexp(*_over(_real(x), axes, keep_dims))


@op("reduce_argmax")
def reduce_argmax(x: Tensor, axis: int = -1, keep_dims: bool = False, output_dtype: str = "int32") -> Tensor:
    _check_output_dtype("reduce_argmax", output_dtype)
    return torch.argmax(x, axis, keep_dims)


@op("reduce_argmin")
def reduce_argmin(x: Tensor, axis: int = -1, keep_dims: bool = False, output_dtype: str = "int32") -> Tensor:
    _check_output_dtype("reduce_argmin", output_dtype)
    return torch.argmin(x, axis, keep_dims)


def _check_output_dtype(type: str, output_dtype: str) -> None:
    if output_dtype.lower() not in ("int32", "uint16"):
        raise ValueError(f"{type}: output_dtype is {output_dtype!r}, which is neither int32 nor uint16")
