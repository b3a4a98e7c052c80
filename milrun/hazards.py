"""Hazards reported for the Neural Engine, as rules that numerics ``ane`` switches on by name.

The reports come from reverse engineering and contradict each other, so a rule tells how *sensitive* a model is to a
hazard. It never tells what the hardware computes.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Kernel = Callable[..., Any]

_MAC = frozenset({"conv", "conv_transpose", "linear", "matmul", "einsum", "scaled_dot_product_attention"})
_NOTES = "751K M6 study, notes/numerics.md"
_CLIFFS = "ANEForge, docs/numeric-cliffs.md"


@dataclass(frozen=True)
class Rule:
    """One reported hazard: what it does, the ops it concerns, chip and source of the report, and the bent kernel."""

    name: str
    effect: str
    ops: frozenset[str]
    chip: str
    source: str
    bend: Callable[[Kernel, str], Kernel]


def _after(change: Callable[[Tensor], Tensor]) -> Callable[[Kernel, str], Kernel]:
    """Return a rule that changes the result of a kernel."""

    def bend(kernel: Kernel, op_type: str) -> Kernel:
        return _keep_signature(kernel, lambda *args, **kwargs: change(kernel(*args, **kwargs)))

    return bend


def _before(change: Callable[[Tensor], Tensor]) -> Callable[[Kernel, str], Kernel]:
    """Return a rule that changes the floating-point operands of a kernel."""

    def bent(value: Any) -> Any:
        if isinstance(value, list):
            return [bent(item) for item in value]
        return change(value) if isinstance(value, Tensor) and value.is_floating_point() else value

    def bend(kernel: Kernel, op_type: str) -> Kernel:
        return _keep_signature(
            kernel, lambda *args, **kwargs: kernel(*map(bent, args), **{k: bent(v) for k, v in kwargs.items()})
        )

    return bend


def _keep_signature(kernel: Kernel, bent: Kernel) -> Kernel:
    return functools.wraps(kernel)(bent)


def _overflow(y: Tensor) -> Tensor:
    return torch.where(y.abs() >= 32768, y.sign() * math.inf, y)


def _flush_subnormals(x: Tensor) -> Tensor:
    return torch.where(x.abs() < 2.0**-14, torch.zeros_like(x), x)


def _narrow_sum(kernel: Kernel, op_type: str) -> Kernel:
    def reduce(x: Tensor, axes: list[int] | None = None, keep_dims: bool = False) -> Tensor:
        if not x.is_floating_point() or x.numel() == 0:
            return kernel(x, axes=axes, keep_dims=keep_dims)
        dims = sorted(axis % x.dim() for axis in (range(x.dim()) if axes is None else axes))
        rest = [d for d in range(x.dim()) if d not in dims]
        flat = x.half().permute(*rest, *dims).reshape([x.shape[d] for d in rest] + [-1])
        total = torch.zeros(flat.shape[:-1], dtype=torch.float16)
        for column in flat.unbind(-1):
            total = total + column
        if op_type == "reduce_mean":
            total = total / flat.shape[-1]
        if keep_dims:
            for d in dims:
                total = total.unsqueeze(d)
        return total

    return _keep_signature(kernel, reduce)


def _flush_epsilon(kernel: Kernel, op_type: str) -> Kernel:
    default = inspect.signature(kernel).parameters["epsilon"].default

    def bent(*args: Any, **kwargs: Any) -> Any:
        epsilon = kwargs.get("epsilon", default)
        return kernel(*args, **kwargs | {"epsilon": 0.0 if 0 < epsilon < 2.0**-24 else epsilon})

    return _keep_signature(kernel, bent)


_TABLES: dict[str, tuple[float, float]] = {
    "sigmoid": (-8.0, 8.0),
    "silu": (-8.0, 8.0),
    "gelu": (-4.0, 4.0),
    "tanh": (-2.0, 2.0),
}


def _by_table(kernel: Kernel, op_type: str) -> Kernel:
    """Interpolate between 33 knots; outside them, call the function itself, which is flat or straight there."""
    low, high = _TABLES[op_type]

    def bent(x: Tensor, **kwargs: Any) -> Tensor:
        knots = torch.linspace(low, high, 33)
        values = kernel(knots, **kwargs)
        position = ((x.float() - low) / (high - low) * 32).clamp(0, 32)
        left = position.nan_to_num().floor().clamp(max=31).long()
        y = torch.lerp(values[left], values[left + 1], position - left)
        return torch.where((x > low) & (x < high), y, kernel(x.float(), **kwargs))

    return _keep_signature(kernel, bent)


def _triangular_cumsum(kernel: Kernel, op_type: str) -> Kernel:
    def bent(x: Tensor, axis: int = 0, exclusive: bool = False, reverse: bool = False) -> Tensor:
        if not x.is_floating_point():
            return kernel(x, axis=axis, exclusive=exclusive, reverse=reverse)
        size = x.shape[axis]
        ones = torch.ones(size, size).tril(-1 if exclusive else 0)
        weights = ones.T if reverse else ones
        sums = torch.matmul(x.half().float().movedim(axis, -1), weights.T)
        return _overflow(sums).half().movedim(-1, axis)

    return _keep_signature(kernel, bent)


def _softplus_overflow(kernel: Kernel, op_type: str) -> Kernel:
    def bent(x: Tensor, **kwargs: Any) -> Tensor:
        y = kernel(x, **kwargs)
        if op_type == "softplus":
            return torch.where(x > 10.4, math.inf, y)
        return y if x.numel() == 0 else torch.where(kernel(x, **kwargs).isfinite() & (y > 7.63), math.inf, y)

    return _keep_signature(kernel, bent)


def _width_slice(kernel: Kernel, op_type: str) -> Kernel:
    def bent(x: Tensor, begin: list[int], **kwargs: Any) -> Tensor:
        y = kernel(x, begin=begin, **kwargs)
        masked = (kwargs.get("begin_mask") or [False] * len(begin))[-1]
        if not y.is_floating_point() or not begin or begin[-1] == 0 or masked:
            return y
        return torch.where(y.abs() > 4094, y.sign() * math.inf, y)

    return _keep_signature(kernel, bent)


RULES: tuple[Rule, ...] = (
    Rule(
        "accumulator_overflow",
        "a multiply-accumulate result of 32768 or more is infinite (the final sum is tested, not each partial one)",
        _MAC,
        "M4, M6; M2 Pro, M5",
        f"{_NOTES}; {_CLIFFS}; contradicted for M1, M5 by arXiv:2606.22283",
        _after(_overflow),
    ),
    Rule(
        "flush_subnormals",
        "operands of multiply-accumulates below 2^-14 count as zero",
        _MAC,
        "M1",
        "arXiv:2606.22283",
        _before(_flush_subnormals),
    ),
    Rule(
        "narrow_reduce_sum",
        "sums accumulate in fp16, one element after the other",
        frozenset({"reduce_sum", "reduce_mean"}),
        "unnamed",
        "ANEForge, numerics.md and numeric_cliffs.py",
        _narrow_sum,
    ),
    Rule(
        "flush_epsilon",
        "an epsilon below 2^-24 is zero",
        frozenset({"layer_norm", "instance_norm", "batch_norm", "l2_norm", "log", "rsqrt", "inverse"}),
        "any computing in fp16",
        "coremlit, tests/fp16_guards.rs",
        _flush_epsilon,
    ),
    Rule(
        "activation_table",
        "wide activations are 33-point tables with straight lines between",
        frozenset(_TABLES),
        "M6; M1 within 1280 values",
        f"{_NOTES}; contradicted by arXiv:2606.22283",
        _by_table,
    ),
    Rule(
        "triangular_cumsum",
        "cumsum is a product with a triangular matrix, in fp16",
        frozenset({"cumsum"}),
        "unnamed",
        "ANEForge, numerics.md",
        _triangular_cumsum,
    ),
    Rule(
        "softplus_overflow",
        "softplus overflows above 10.4, log-sum-exp above 7.63",
        frozenset({"softplus", "reduce_log_sum_exp"}),
        "unnamed",
        "coreai-torch issues 21, 104 to 106",
        _softplus_overflow,
    ),
    Rule(
        "width_slice_gain",
        "a slice of the last axis that does not begin at 0 overflows above 4094",
        frozenset({"slice_by_index", "slice_by_size"}),
        "M1, A14 (absent on A16, M5)",
        f"arXiv:2606.22283; {_CLIFFS}",
        _width_slice,
    ),
)


def select(names: list[str] | None) -> tuple[Rule, ...]:
    """Return the rules of these names, or all."""
    if names is None:
        return RULES
    known = {rule.name: rule for rule in RULES}
    for name in names:
        if name not in known:
            raise ValueError(f"unknown hazard rule {name!r}, one of {', '.join(known)}")
    return tuple(known[name] for name in names)
