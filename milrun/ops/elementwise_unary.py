"""Elementwise ops of one tensor."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from milrun.registry import op, prepared_op


@op("identity")
def identity(x: Tensor) -> Tensor:
    return x


@op("abs")
def abs_(x: Tensor) -> Tensor:
    return torch.abs(x)


@op("acos")
def acos(x: Tensor) -> Tensor:
    return torch.acos(x)


@op("asin")
def asin(x: Tensor) -> Tensor:
    return torch.asin(x)


@op("atan")
def atan(x: Tensor) -> Tensor:
    return torch.atan(x)


@op("atanh")
def atanh(x: Tensor) -> Tensor:
    return torch.atanh(x)


@op("ceil")
def ceil(x: Tensor) -> Tensor:
    return torch.ceil(x)


@op("clip")
def clip(x: Tensor, alpha: float, beta: float) -> Tensor:
    if not x.is_floating_point():
        return torch.clamp(x, int(alpha), int(beta))
    return torch.clamp(x, alpha, beta)


@op("cos")
def cos(x: Tensor) -> Tensor:
    return torch.cos(x)


@op("cosh")
def cosh(x: Tensor) -> Tensor:
    return torch.cosh(x)


@op("erf")
def erf(x: Tensor) -> Tensor:
    return torch.erf(x.float())  # the float16 kernel is off by a unit here and there


@op("exp")
def exp(x: Tensor) -> Tensor:
    return torch.exp(x)


@op("exp2")
def exp2(x: Tensor) -> Tensor:
    if not x.is_floating_point():
        return torch.pow(2, x)
    return torch.exp2(x)


@op("floor")
def floor(x: Tensor) -> Tensor:
    return torch.floor(x)


@op("inverse")
def inverse(x: Tensor, epsilon: float = 1e-4) -> Tensor:
    return torch.add(x.float(), epsilon).reciprocal_()


@prepared_op("log", "x")
def log(epsilon: float = 1e-45) -> Callable[[Tensor], Tensor]:
    felt = not 0 < epsilon < _UNFELT
    least = None if felt else torch.tensor(epsilon).log().half()

    def run(x: Tensor) -> Tensor:
        if least is not None and x.dtype is torch.float16:
            return torch.maximum(torch.log(x), least)
        return torch.add(x.float(), epsilon).log_()

    return run


_UNFELT = 1e-15
"""An epsilon below it changes no half-precision number but zero, by whose logarithm it bounds all others."""


@op("logical_not")
def logical_not(x: Tensor) -> Tensor:
    return torch.logical_not(x)


@op("round")
def round_(x: Tensor) -> Tensor:
    return torch.round(x)


@op("rsqrt")
def rsqrt(x: Tensor, epsilon: float = 1e-12) -> Tensor:
    return torch.add(x.float(), epsilon).rsqrt_()


@op("sign")
def sign(x: Tensor) -> Tensor:
    y = torch.sign(x)
    # Torch gives 0 for NaN, and would hide it from all that follows; the specification's value inference keeps it.
    return torch.where(x == x, y, x) if x.is_floating_point() else y


@op("sin")
def sin(x: Tensor) -> Tensor:
    return torch.sin(x)


@op("sinh")
def sinh(x: Tensor) -> Tensor:
    return torch.sinh(x)


@op("sqrt")
def sqrt(x: Tensor) -> Tensor:
    return torch.sqrt(x)


@op("square")
def square(x: Tensor) -> Tensor:
    return torch.mul(x, x)


@op("tan")
def tan(x: Tensor) -> Tensor:
    return torch.tan(x)


@op("tanh")
def tanh(x: Tensor) -> Tensor:
    return torch.tanh(x)


@op("threshold")
def threshold(x: Tensor, alpha: float) -> Tensor:
    if not x.is_floating_point():
        return torch.clamp(x, min=int(alpha))
    return torch.clamp(x, min=alpha)


_INTEGERS = {
    "int8": (torch.int8, -(2**7), 2**7 - 1),
    "uint8": (torch.uint8, 0, 2**8 - 1),
    "int16": (torch.int16, -(2**15), 2**15 - 1),
    "uint16": (torch.int32, 0, 2**16 - 1),
    "int32": (torch.int32, -(2**31), 2**31 - 1),
}


@op("cast")
def cast(x: Tensor, dtype: str) -> Tensor:
    if dtype in ("fp16", "fp32"):
        return x if x.is_floating_point() else x.float()
    if dtype == "bool":
        return x.bool()
    if dtype not in _INTEGERS:
        raise ValueError(f"cast: dtype is {dtype!r}, which is none of bool, fp16, fp32, {', '.join(_INTEGERS)}")
    storage, low, high = _INTEGERS[dtype]
    if x.is_floating_point():
        # A conversion out of range is undefined in C, and the specification names no result. This one saturates,
        # and takes NaN to 0, as the conversions of an ARM processor do; float64 holds every bound exactly.
        return torch.clamp(x.double(), low, high).nan_to_num_(0.0).to(storage)
    # From integer to integer the low bits stay, as in the value inference of the specification.
    return x.to(storage) & high if dtype == "uint16" else x.to(storage)
