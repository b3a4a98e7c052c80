"""Small upstream models, and rewrites of a part of them, right and wrong."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tests.support.small_stages import CHANNELS, Small, Stateless

VALID = 41
"""Frames of a padded input before its zeros."""


class Upstream(nn.Module):
    """A model whose middle is cut out as a stage."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Small()

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.inner(x)
        return hidden + 1


class Cut(nn.Module):
    """The middle of Upstream, as a rewrite with upstream's own layers."""

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        self.first, self.second = upstream.inner.first, upstream.inner.second

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.first(x))
        return torch.sigmoid(self.second(hidden)) * 0.5


class CutTooLoud(Cut):
    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.first(x))
        return torch.sigmoid(self.second(hidden)) * 0.75


class CutReversed(Cut):
    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.first(x))
        return torch.sigmoid(self.second(hidden.flip(1))) * 0.5


class Filled(nn.Module):
    """The middle of Upstream again, from nothing but its weights."""

    def __init__(self, state: Any) -> None:
        super().__init__()
        self.begin, self.end = (nn.Conv1d(CHANNELS, CHANNELS, 3, padding=1) for _ in range(2))
        for layer, name in ((self.begin, "inner.first"), (self.end, "inner.second")):
            layer.load_state_dict({key: state[f"{name}.{key}"] for key in ("weight", "bias")})

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.end(torch.tanh(self.begin(x)))) * 0.5


class FilledReversed(Filled):
    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.begin(x))
        return torch.sigmoid(self.end(hidden.flip(1))) * 0.5


class FilledQuiet(Filled):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.end(torch.tanh(self.begin(x * 0.25)))) * 0.5


class Padded(Filled):
    """The same, on a few frames and zeros behind them."""

    def forward(self, x: Tensor) -> Tensor:
        valid = torch.arange(x.shape[2]) < VALID
        hidden = torch.tanh(self.begin(x)) * valid
        return torch.sigmoid(self.end(hidden)) * 0.5 * valid


class PaddedReversed(Padded):
    def forward(self, x: Tensor) -> Tensor:
        valid = torch.arange(x.shape[2]) < VALID
        hidden = torch.tanh(self.begin(x)) * valid
        return torch.sigmoid(self.end(hidden.flip(1))) * 0.5 * valid


class Leaking(Padded):
    def forward(self, x: Tensor) -> Tensor:
        valid = torch.arange(x.shape[2]) < VALID
        hidden = torch.tanh(self.begin(x))
        return torch.sigmoid(self.end(hidden)) * 0.5 * valid


class UpstreamTwins(Upstream):
    """Its layers have the same weights."""

    def __init__(self) -> None:
        super().__init__()
        self.inner.second.load_state_dict(self.inner.first.state_dict())


class UpstreamEven(Upstream):
    """Evens out how loud its input is, and goes around that as well."""

    def __init__(self) -> None:
        super().__init__()
        self.even = nn.GroupNorm(1, CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.inner(x + self.even(x))
        return hidden


class Even(Filled):
    def __init__(self, state: Any) -> None:
        super().__init__(state)
        self.even = nn.GroupNorm(1, CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + self.even(x))


class EvenTooLoud(Even):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * 4)


class UpstreamChain(nn.Module):
    """Computes on its input alone: no submodule can be shared."""

    def forward(self, x: Tensor) -> Tensor:
        wave = torch.sin(x * 3)
        power = torch.cumsum(wave**2, 2)
        return torch.log1p(power) * 0.5


class Chain(Stateless):
    """The same, statement by statement, with the frames first."""

    def forward(self, x: Tensor) -> Tensor:
        frames = x.transpose(1, 2)
        wave = torch.sin(frames * 3)
        square = wave * wave
        power = self.summed(square)
        level = torch.log1p(power)
        return level.transpose(1, 2) * 0.5

    def summed(self, square: Tensor) -> Tensor:
        return torch.cumsum(square, 1)


class ChainOfMeans(Chain):
    def summed(self, square: Tensor) -> Tensor:
        total = torch.cumsum(square, 1)
        return total * 0.9


class ChainOfSquares(Stateless):
    """Gives another of upstream's values than it should."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cumsum(torch.sin(x * 3) ** 2, 2)


class UpstreamStyled(nn.Module):
    """A convolution, and after it a gain that a layer makes of the style alone: of the first frame."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.style = Small(), nn.Linear(CHANNELS, CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.inner(x)
        gain = torch.sigmoid(self.style(x[:, :, 0]))
        return hidden * gain[:, :, None] + 1


class CutStyledTooLoud(nn.Module):
    def __init__(self, upstream: Any) -> None:
        super().__init__()
        self.middle, self.style = Cut(upstream), upstream.style

    def forward(self, x: Tensor) -> Tensor:
        half = self.middle(x)
        gain = torch.sigmoid(self.style(x[:, :, 0]))
        loud = half * gain[:, :, None] * 1.5
        return loud + 1
