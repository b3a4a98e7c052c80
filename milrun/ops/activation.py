"""Activations."""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from milrun.registry import op


def _per_channel(values: Tensor, rank: int) -> Tensor:
    """Return one value per channel, shaped to broadcast over a tensor whose axis 1 is the channel."""
    return values.reshape(-1, *(1,) * (rank - 2))


@op("relu")
def relu(x: Tensor) -> Tensor:
    return torch.relu(x)


@op("relu6")
def relu6(x: Tensor) -> Tensor:
    return torch.clamp(x, 0.0, 6.0)


@op("leaky_relu")
def leaky_relu(x: Tensor, alpha: float) -> Tensor:
    return F.leaky_relu(x, alpha)


@op("prelu")
def prelu(x: Tensor, alpha: Tensor) -> Tensor:
    return torch.prelu(x, alpha.to(x.dtype))


@op("clamped_relu")
def clamped_relu(x: Tensor, alpha: float, beta: float) -> Tensor:
    return F.leaky_relu(x, alpha).clamp_(max=beta)


@op("thresholded_relu")
def thresholded_relu(x: Tensor, alpha: float) -> Tensor:
    # In float32, so that the bound below alpha exists next to it whatever the precision of x.
    return torch.threshold(x.float(), _below(alpha), 0.0)


@cache
def _below(alpha: float) -> float:
    """Return the largest float32 that is less than alpha: `x >= alpha` is `x > _below(alpha)` for any float32 x."""
    nearest = torch.tensor(alpha, dtype=torch.float32)
    if nearest.item() < alpha:
        return float(nearest.item())
    return float(torch.nextafter(nearest, torch.tensor(-math.inf)).item())


@op("elu")
def elu(x: Tensor, alpha: float) -> Tensor:
    return F.elu(x, alpha)


@op("gelu")
def gelu(x: Tensor, mode: str = "EXACT") -> Tensor:
    if mode == "EXACT":
        return F.gelu(x.float())  # the float16 kernel is off by a unit here and there
    if mode == "TANH_APPROXIMATION":
        return F.gelu(x, approximate="tanh")
    if mode == "SIGMOID_APPROXIMATION":
        return torch.mul(x.float(), 1.702).sigmoid_().mul_(x)
    raise ValueError(f"gelu: mode is {mode!r}, which is none of EXACT, TANH_APPROXIMATION and SIGMOID_APPROXIMATION")


@op("silu")
def silu(x: Tensor) -> Tensor:
    return F.silu(x)


@op("sigmoid")
def sigmoid(x: Tensor) -> Tensor:
    return torch.sigmoid(x)


@op("sigmoid_hard")
def sigmoid_hard(x: Tensor, alpha: float, beta: Tensor) -> Tensor:
    return torch.add(beta, x, alpha=alpha).clamp_(0.0, 1.0)


@op("linear_activation")
def linear_activation(x: Tensor, alpha: float, beta: Tensor) -> Tensor:
    return torch.add(beta, x, alpha=alpha)


@op("scaled_tanh")
def scaled_tanh(x: Tensor, alpha: float, beta: float) -> Tensor:
    return torch.mul(x.float(), beta).tanh_().mul_(alpha)


@op("softplus")
def softplus(x: Tensor) -> Tensor:
    return F.softplus(x)


@op("softplus_parametric")
def softplus_parametric(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    rank = x.dim()
    return F.softplus(x * _per_channel(beta, rank)) * _per_channel(alpha, rank)


@op("softsign")
def softsign(x: Tensor) -> Tensor:
    x = x.float()
    return x / torch.abs(x).add_(1.0)


@op("softmax")
def softmax(x: Tensor, axis: int = -1) -> Tensor:
    return torch.softmax(x, axis)
