"""Small modules with the faults that a converter, a precision or a slip makes of larger ones."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from parity.declarations import Dim, Stage, Variant, real

FRAMES = Dim("frames", 4, 4000)
CHANNELS = 32
FP32, FP16 = Variant("fp32", "float32", ships=True), Variant("fp16", "float16")
PAL4 = Variant("fp32-pal4", "float32", palettize=4)
Modules = Callable[[Any], nn.Module]


def stage(module: Modules, *outputs: str) -> Stage:
    declared = {name: real(1, CHANNELS, FRAMES) for name in outputs or ("y",)}
    return Stage(
        "small", module, {"x": real(1, CHANNELS, FRAMES)}, declared, (FP32, FP16, PAL4), trace_at={"frames": 16}
    )


def signal(frames: int = 40) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((1, CHANNELS, frames)).astype(np.float32)


def line(text: str) -> re.Pattern[str]:
    """A place among these modules and the rewrites of `small_cuts`, at a line that reads so."""
    return re.compile(rf"^tests/support/small_(?:stages|cuts)\.py:\d+ in forward: {re.escape(text)}$")


class Small(nn.Module):
    """Two convolutions of weights that are the same in every instance."""

    def __init__(self, upstream: Any = None) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.first = nn.Conv1d(CHANNELS, CHANNELS, 3, padding=1)
            self.second = nn.Conv1d(CHANNELS, CHANNELS, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.first(x))
        return torch.sigmoid(self.second(hidden)) * 0.5


class TooLoud(Small):
    def __init__(self, upstream: Any = None) -> None:
        super().__init__()
        self.second.weight.data *= 1.05
        self.second.bias.data *= 1.05  # type: ignore[union-attr]


class ChannelsSwapped(Small):
    def __init__(self, upstream: Any = None) -> None:
        super().__init__()
        for value in (self.second.weight.data, self.second.bias.data):  # type: ignore[union-attr]
            value[[3, 5]] = value[[5, 3]]


class LayersSwapped(Small):
    def __init__(self, upstream: Any = None) -> None:
        super().__init__()
        first, second = self.first.weight.data, self.second.weight.data
        self.first.weight.data, self.second.weight.data = second, first


class Recurrent(nn.Module):
    """An LSTM, whose weights the converter puts in an order of its own."""

    order = (0, 1, 2, 3)

    def __init__(self, upstream: Any = None) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.lstm = nn.LSTM(CHANNELS, CHANNELS, batch_first=True)
        for name, value in self.lstm.named_parameters():
            gates = value.data.chunk(4)
            getattr(self.lstm, name).data = torch.cat([gates[gate] for gate in self.order])

    def forward(self, x: Tensor) -> Tensor:
        heard, _ = self.lstm(x.transpose(1, 2))
        return heard.transpose(1, 2)


class GatesSwapped(Recurrent):
    order = (0, 1, 3, 2)


class NotANumber(Small):
    def forward(self, x: Tensor) -> Tensor:
        holes = torch.where(x > 2.5, torch.full_like(x, torch.nan), x)
        hidden = torch.tanh(self.first(holes))
        return torch.sigmoid(self.second(hidden)) * 0.5


class WrongFactor(Small):
    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.first(x))
        return torch.sigmoid(self.second(hidden)) * 0.55


class OneFrameLate(Small):
    def forward(self, x: Tensor) -> Tensor:
        late = torch.cat([x[:, :, :1], x[:, :, :-1]], 2)
        hidden = torch.tanh(self.first(late))
        return torch.sigmoid(self.second(hidden)) * 0.5


class FirstOnly(Small):
    """Half of a Small, with the other half beside it."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        hidden = torch.tanh(self.first(x))
        return self.second(hidden), hidden


class Normalized(Small):
    """What comes before a normalisation is free to be scaled."""

    def forward(self, x: Tensor) -> Tensor:
        even = nn.functional.instance_norm(self.first(x))
        return torch.sigmoid(self.second(even)) * 0.5


class NormalizedWrongFactor(Normalized):
    def __init__(self, upstream: Any = None) -> None:
        super().__init__()
        self.first.weight.data *= 4
        self.first.bias.data *= 4  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        even = nn.functional.instance_norm(self.first(x))
        return torch.sigmoid(self.second(even)) * 0.6


class Centered(Small):
    """A layer norm that takes a weight and no bias."""

    def forward(self, x: Tensor) -> Tensor:
        scale = self.second.weight[:, 0, 0] + 2
        return nn.functional.layer_norm(self.first(x).transpose(1, 2), (CHANNELS,), scale).transpose(1, 2)


class Stateless(nn.Module):
    def __init__(self, upstream: Any = None) -> None:
        super().__init__()


class Turns(Stateless):
    def forward(self, x: Tensor) -> Tensor:
        turns = x * 3
        part = turns % 1
        return torch.sin(part)


class Laid(Stateless):
    def forward(self, x: Tensor) -> Tensor:
        turned = (x * 3).transpose(1, 2)
        part = self.part(turned)
        return part.transpose(1, 2)

    def part(self, x: Tensor) -> Tensor:
        return x - torch.floor(x)


class LaidByModulo(Laid):
    def part(self, x: Tensor) -> Tensor:
        return x % 1


class Angle(Stateless):
    def forward(self, x: Tensor) -> Tensor:
        right, up = x * 2, torch.relu(x.flip(1))
        angle = torch.atan2(up, right)
        return angle * 0.5


class Reciprocal(Stateless):
    def forward(self, x: Tensor) -> Tensor:
        small = torch.tanh(x) * 0.01
        return 1 / small


class Snake(nn.Module):
    """The activation of codecs and vocoders: the reciprocal is of a parameter, so the converter computes it."""

    def __init__(self, upstream: Any = None) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.linspace(0.05, 2.0, CHANNELS).reshape(1, CHANNELS, 1))

    def forward(self, x: Tensor) -> Tensor:
        wave = torch.sin(self.alpha * x) ** 2
        bent = (self.alpha + 1e-9).reciprocal() * wave
        return x + bent


class Phase(Stateless):
    def forward(self, x: Tensor) -> Tensor:
        phase = torch.cumsum(x, 2)
        wave = torch.sin(phase)
        return wave * 0.5


class Power(Stateless):
    """Squares that are beyond half precision, and are divided down again."""

    def forward(self, x: Tensor) -> Tensor:
        loud = x * 40
        power = loud * loud
        return power * 1e-4 + 1


class Counting(Stateless):
    """Compares frame numbers, which half precision has up to 2048."""

    def forward(self, x: Tensor) -> Tensor:
        count = torch.cumsum(x, 2)
        odd = count - 2 * torch.floor(count / 2)
        return odd + 1


class Frozen(Stateless):
    """Divides by a number of frames that tracing makes a constant."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x) * int(x.shape[2])


class FrozenShape(Stateless):
    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x).reshape(1, CHANNELS, int(x.shape[2]))


class Baked(Stateless):
    """Draws its noise in a way that tracing can't see."""

    def forward(self, x: Tensor) -> Tensor:
        drawn = np.random.default_rng().standard_normal((1, CHANNELS, 1))
        noise = torch.tensor(drawn, dtype=torch.float32)
        return torch.tanh(x) + noise


class Steep(Stateless):
    """Makes much of the rounding of its input."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(x * 2048)
