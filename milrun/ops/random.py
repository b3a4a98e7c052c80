"""Random numbers, from the generator of the running model or, with a seed, the same numbers in every call."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from milrun.registry import op


@op("random_bernoulli")
def random_bernoulli(shape: list[int], generator: Generator, prob: float = 0.5, seed: int = -1) -> Tensor:
    return torch.empty(shape).bernoulli_(prob, generator=_seeded(seed, generator))


@op("random_normal")
def random_normal(
    shape: list[int], generator: Generator, mean: float = 0.0, stddev: float = 1.0, seed: int = -1
) -> Tensor:
    return torch.empty(shape).normal_(mean, stddev, generator=_seeded(seed, generator))


@op("random_uniform")
def random_uniform(
    shape: list[int], generator: Generator, low: float = 0.0, high: float = 1.0, seed: int = -1
) -> Tensor:
    return torch.empty(shape).uniform_(low, high, generator=_seeded(seed, generator))


@op("random_categorical")
def random_categorical(x: Tensor, generator: Generator, mode: str = "logits", size: int = 1, seed: int = -1) -> Tensor:
    """Draw samples from the distributions along the last axis, with replacement."""
    if mode not in ("logits", "probs"):
        raise ValueError(f"random_categorical: mode is {mode!r}, allowed are logits, probs")
    weights = x.softmax(-1) if mode == "logits" else x
    rows = weights.reshape(-1, x.shape[-1])
    samples = torch.multinomial(rows, size, replacement=True, generator=_seeded(seed, generator))
    return samples.reshape(*x.shape[:-1], size).to(x.dtype)


def _seeded(seed: int, generator: Generator) -> Generator:
    return generator if seed < 0 else Generator().manual_seed(seed)
