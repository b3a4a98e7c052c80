"""Normalizations."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from milrun.registry import op, prepare


@op("batch_norm")
def batch_norm(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: float = 1e-5,
) -> Tensor:
    return torch.batch_norm(x, gamma, beta, mean, variance, False, 0.0, epsilon, False)


@op("instance_norm")
def instance_norm(x: Tensor, gamma: Tensor | None = None, beta: Tensor | None = None, epsilon: float = 1e-5) -> Tensor:
    # As groups of one channel each: the same sums, in a faster kernel, that takes a single element as well.
    return torch.group_norm(x, x.shape[1], gamma, beta, epsilon, False)


@op("l2_norm")
def l2_norm(x: Tensor, epsilon: float = 1e-6) -> Tensor:
    return x / torch.sum(torch.square(x), (-3, -2, -1), True).add_(epsilon).sqrt_()


@prepare("layer_norm")
def prepare_layer_norm(
    axes: list[int] | None = None, gamma: Tensor | None = None, beta: Tensor | None = None, epsilon: float = 1e-5
) -> Callable[[Tensor], Tensor] | None:
    if axes != [-1] or gamma is None:
        return None
    size = gamma.shape
    return lambda x: torch.layer_norm(x, size, gamma, beta, epsilon, False)


@op("layer_norm")
def layer_norm(
    x: Tensor,
    axes: list[int] | None = None,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: float = 1e-5,
) -> Tensor:
    rank = x.dim()
    positive, trailing = _normalized(rank, None if axes is None else tuple(axes))
    if trailing:
        return torch.layer_norm(x, x.shape[positive[0] :], gamma, beta, epsilon, False)
    out = x - torch.mean(x, positive, True)
    out.mul_(torch.mean(torch.square(out), positive, True).add_(epsilon).rsqrt_())
    shape = [x.shape[axis] if axis in positive else 1 for axis in range(rank)]
    if gamma is not None:
        out.mul_(gamma.reshape(shape))
    if beta is not None:
        out.add_(beta.reshape(shape))
    return out


@cache
def _normalized(rank: int, axes: tuple[int, ...] | None) -> tuple[tuple[int, ...], bool]:
    """Return the axes to normalize over, in order, and whether they are the last ones of the tensor."""
    positive = tuple(range(rank)) if axes is None else tuple(sorted(axis % rank for axis in axes))
    return positive, positive == tuple(range(rank - len(positive), rank))


@op("local_response_norm")
def local_response_norm(x: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    # The channel is the third axis from the end of an image, and so the first one of a tensor without batch axis:
    # the values the specification's own tests expect of a rank 3 tensor say so, though its text has [n, C, D] there.
    channel = 0 if x.dim() == 3 else 1
    padding = (0, 0) * (x.dim() - channel - 1) + (size // 2, (size - 1) // 2)
    energy = F.pad(torch.square(x), padding).unfold(channel, size, 1).sum(-1)
    return energy.mul_(alpha / size).add_(k).pow_(-beta).mul_(x)
