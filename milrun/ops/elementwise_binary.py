"""Elementwise ops of two tensors that broadcast against each other, and the choice between two."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from milrun.registry import op, prepare


@op("add")
def add(x: Tensor, y: Tensor) -> Tensor:
    return torch.add(x, y)


@op("sub")
def sub(x: Tensor, y: Tensor) -> Tensor:
    return torch.sub(x, y)


@op("mul")
def mul(x: Tensor, y: Tensor) -> Tensor:
    return torch.mul(x, y)


@op("real_div")
def real_div(x: Tensor, y: Tensor) -> Tensor:
    if x.is_floating_point() or y.is_floating_point():
        return torch.div(x, y)
    # The quotient of integers is declared an integer: truncated, like the conversion of a real quotient to int32.
    # In int64, because the processor traps on the smallest int32 divided by -1.
    return torch.div(x.long(), y.long(), rounding_mode="trunc")


@op("floor_div")
def floor_div(x: Tensor, y: Tensor) -> Tensor:
    return torch.floor_divide(x, y)


@op("mod")
def mod(x: Tensor, y: Tensor) -> Tensor:
    rest = torch.remainder(x, y)
    if not rest.is_floating_point() or not bool(rest.isnan().any()):
        return rest
    # Torch's kernel overflows where the quotient does, as of 1 and 1e-40; the quotient of two fp32 fits into fp64.
    return torch.remainder(x.double(), y.double()).to(rest.dtype)


@op("pow")
def pow_(x: Tensor, y: Tensor) -> Tensor:
    return torch.pow(x, y)


@prepare("pow")
def prepare_pow(y: Tensor) -> Callable[..., Tensor] | None:
    """Pass a constant exponent as a number: squares, roots and reciprocals then need no power at all."""
    if y.dim() or not y.is_floating_point():
        return None
    exponent = y.item()

    def kernel(x: Tensor) -> Tensor:
        return torch.pow(x, exponent)

    return kernel


@op("maximum")
def maximum(x: Tensor, y: Tensor) -> Tensor:
    return torch.maximum(x, y)


@op("minimum")
def minimum(x: Tensor, y: Tensor) -> Tensor:
    return torch.minimum(x, y)


@op("equal")
def equal(x: Tensor, y: Tensor) -> Tensor:
    return torch.eq(x, y)


@op("not_equal")
def not_equal(x: Tensor, y: Tensor) -> Tensor:
    return torch.ne(x, y)


@op("greater")
def greater(x: Tensor, y: Tensor) -> Tensor:
    return torch.gt(x, y)


@op("greater_equal")
def greater_equal(x: Tensor, y: Tensor) -> Tensor:
    return torch.ge(x, y)


@op("less")
def less(x: Tensor, y: Tensor) -> Tensor:
    return torch.lt(x, y)


@op("less_equal")
def less_equal(x: Tensor, y: Tensor) -> Tensor:
    return torch.le(x, y)


@op("logical_and")
def logical_and(x: Tensor, y: Tensor) -> Tensor:
    return torch.logical_and(x, y)


@op("logical_or")
def logical_or(x: Tensor, y: Tensor) -> Tensor:
    return torch.logical_or(x, y)


@op("logical_xor")
def logical_xor(x: Tensor, y: Tensor) -> Tensor:
    return torch.logical_xor(x, y)


@op("select")
def select(cond: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(cond, a, b)
