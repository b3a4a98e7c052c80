"""Layers that leave out what lies behind the valid part: upstream runs every text at its own length.

A graph of a fixed size gets zeros there. Each stage finds the valid part in its own inputs, because the shipped graphs
take no length. Positions are counted up from the input, not stored: a table of them would make the weights of each
bucket a file of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Span:
    """The valid part of a sequence.

    Attributes:
        position: Positions from 0 on, (1, length).
        inside: Whether a position is valid, (1, length).
        backwards: Positions that turn the valid part around and leave the rest where it is, (1, length).
    """

    def __init__(self, filled: Tensor) -> None:
        """Take `filled`, int32 (1, length): not 0 where there is something; up to the last such place all is valid."""
        count = torch.cumsum(filled * 0 + 1, 1).to(torch.int32)
        last = (count * (filled != 0).to(torch.int32)).amax(1, keepdim=True)
        self.position = count - 1
        self.inside = count <= last
        self.backwards = torch.where(self.inside, last - count, self.position)

    @property
    def mask(self) -> Tensor:
        """1 where a position is valid, 0 elsewhere, (1, length)."""
        return self.inside.float()


def filled(x: Tensor, axis: int) -> Tensor:
    """Return where a sequence of vectors has one that is not zero, int32 (1, length)."""
    return (x.abs().amax(axis) > 0).to(torch.int32)


class Bidirectional(nn.Module):
    """Upstream's LSTM as one for each direction, of which the second begins at the end of the valid part."""

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        self.forwards, self.backwards = (nn.LSTM(lstm.input_size, lstm.hidden_size, batch_first=True) for _ in range(2))
        for made, end in ((self.forwards, ""), (self.backwards, "_reverse")):
            made.load_state_dict({name: getattr(lstm, f"{name}{end}") for name in made.state_dict()})

    def forward(self, x: Tensor, span: Span) -> Tensor:
        turn = span.backwards[0]
        there = self.forwards(x)[0]
        back = self.backwards(torch.index_select(x, 1, turn))[0]
        return torch.cat([there, torch.index_select(back, 1, turn)], -1)


class Frames:
    """The valid part of frames, (1, length), and of finer steps of time.

    Attributes:
        mask: 1 where a step is valid, (1, 1, all steps).
    """

    def __init__(self, valid: Tensor, steps: int = 1) -> None:
        """Take which frames are valid, (1, frames), and the steps of each."""
        self._valid, self._steps = valid, steps
        self.mask = (valid[:, :, None] * torch.ones(steps)).reshape(1, 1, -1) if steps > 1 else valid[:, None]
        self._share = (valid / valid.sum(1, keepdim=True))[:, :, None]

    def finer(self, times: int) -> Frames:
        """Return the valid part where each step is cut into so many."""
        return Frames(self._valid, self._steps * times)

    def mean(self, x: Tensor) -> Tensor:
        """Return the mean over the valid steps: each frame's first, for one sum over 200,000 steps loses digits."""
        of_frames = x if self._steps == 1 else x.reshape(1, x.shape[1], -1, self._steps).mean(3)
        return of_frames @ self._share


def normalized(norm: Any, x: Tensor, style: Tensor, frames: Frames) -> Tensor:
    """Upstream's adaptive instance norm, by the mean and variance of the valid frames; zero behind them."""
    gain, shift = norm.fc(style)[:, :, None].chunk(2, 1)
    apart = x - frames.mean(x)
    scale = torch.rsqrt(frames.mean(apart * apart) + norm.norm.eps)
    return ((1 + gain) * (apart * scale) + shift) * frames.mask


def styled(block: Any, x: Tensor, style: Tensor, frames: Frames, finer: Frames) -> Tensor:
    """Upstream's residual block, from frames to frames that are as fine, or twice."""
    y = F.leaky_relu(normalized(block.norm1, x, style, frames), 0.2)
    y = block.conv1(block.pool(y) * finer.mask)
    y = block.conv2(F.leaky_relu(normalized(block.norm2, y, style, finer), 0.2))
    return (y + block._shortcut(x)) * 2**-0.5


Activation = Callable[[Tensor, Tensor], Tensor]


def snake(x: Tensor, alpha: Tensor) -> Tensor:
    """Upstream's activation. It has `1 / alpha`, to which the converter adds 0.0001 below the line; a division by
    alpha is left as it is."""
    return x + torch.sin(alpha * x) ** 2 / alpha


def snaked(block: Any, x: Tensor, style: Tensor, frames: Frames, activation: Activation = snake) -> Tensor:
    """Upstream's residual block with Snake activations."""
    layers = (block.convs1, block.convs2, block.adain1, block.adain2, block.alpha1, block.alpha2)
    for conv1, conv2, norm1, norm2, alpha1, alpha2 in zip(*layers, strict=True):
        y = conv1(activation(normalized(norm1, x, style, frames), alpha1))
        x = conv2(activation(normalized(norm2, y, style, frames), alpha2)) + x
    return x
