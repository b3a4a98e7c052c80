"""Small models with the cost profiles of speech models: convolutions, attention, recurrence, loops, many small ops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1))
        self.dilated = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel, dilation=d, padding=d * (kernel - 1) // 2) for d in (1, 3, 5)
        )
        self.plain = nn.ModuleList(nn.Conv1d(channels, channels, kernel, padding=(kernel - 1) // 2) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        for dilated, plain in zip(self.dilated, self.plain, strict=True):
            y = dilated(x + (1 / self.alpha) * torch.sin(self.alpha * x) ** 2)
            x = x + plain(F.leaky_relu(y, 0.1))
        return x


class Vocoder(nn.Module):
    """Upsampling convolutions with residual blocks between, as in HiFi-GAN."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.Conv1d(80, 256, 7, padding=3)
        self.up = nn.ModuleList(
            [nn.ConvTranspose1d(256, 128, 20, 10, padding=5), nn.ConvTranspose1d(128, 64, 12, 6, padding=3)]
        )
        self.blocks = nn.ModuleList(nn.ModuleList(ResidualBlock(c, k) for k in (3, 7, 11)) for c in (128, 64))
        self.after = nn.Conv1d(64, 1, 7, padding=3)

    def forward(self, mel: Tensor) -> Tensor:
        x = self.before(mel)
        for up, blocks in zip(self.up, self.blocks, strict=True):
            x = up(F.leaky_relu(x, 0.1))
            assert isinstance(blocks, nn.ModuleList)
            x = (blocks[0](x) + blocks[1](x) + blocks[2](x)) / 3
        return torch.tanh(self.after(F.leaky_relu(x)))


class EncoderLayer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        q, k, v = (
            p(x).view(batch, length, self.heads, width // self.heads).transpose(1, 2) for p in (self.q, self.k, self.v)
        )
        weights = torch.softmax(q @ k.transpose(-1, -2) * (width // self.heads) ** -0.5, -1)
        attended = (weights @ v).transpose(1, 2).reshape(batch, length, width)
        x = self.norm1(x + self.o(attended))
        return self.norm2(x + self.down(F.gelu(self.up(x))))


class Encoder(nn.Module):
    """A BERT of 12 layers."""

    def __init__(self, width: int = 512, layers: int = 12) -> None:
        super().__init__()
        self.embedding = nn.Embedding(256, width)
        self.layers = nn.ModuleList(EncoderLayer(width, 8) for _ in range(layers))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids)
        for layer in self.layers:
            x = layer(x)
        return x


class Recurrent(nn.Module):
    """Convolutions and three bidirectional LSTMs, as in text and prosody encoders."""

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        self.conv = nn.ModuleList(nn.Conv1d(width, width, 5, padding=2) for _ in range(3))
        self.lstm = nn.ModuleList(nn.LSTM(width, width // 2, batch_first=True, bidirectional=True) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        for conv, lstm in zip(self.conv, self.lstm, strict=True):
            x = F.leaky_relu(conv(x), 0.2)
            x = lstm(x.transpose(1, 2))[0].transpose(1, 2)
        return x


class StepLayer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.up, self.down = nn.Linear(width, 2 * width, bias=False), nn.Linear(2 * width, width, bias=False)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(
        self, x: Tensor, keys: Tensor, values: Tensor, here: Tensor, mask: Tensor, cos: Tensor, sin: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        h = self.norm1(x)
        q, k, v = (p(h).view(1, self.heads, 1, -1) for p in (self.q, self.k, self.v))
        q, k = _rotate(q, cos, sin), _rotate(k, cos, sin)
        keys, values = torch.where(here, k, keys), torch.where(here, v, values)
        weights = torch.softmax(q @ keys.transpose(-1, -2) * q.shape[-1] ** -0.5 + mask, -1)
        x = x + self.o((weights @ values).view(1, 1, -1))
        return x + self.down(F.gelu(self.up(self.norm2(x)))), keys, values


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


class Step(nn.Module):
    """One token through six layers, with a cache of keys and values that goes in and comes out."""

    capacity = 128
    slots: Tensor
    frequencies: Tensor

    def __init__(self, width: int = 256, layers: int = 6, heads: int = 4) -> None:
        super().__init__()
        self.layers = nn.ModuleList(StepLayer(width, heads) for _ in range(layers))
        half = width // heads // 2
        self.register_buffer("slots", torch.arange(self.capacity).view(1, 1, -1, 1))
        self.register_buffer("frequencies", 10000.0 ** (-torch.arange(half) / half))

    def forward(self, x: Tensor, position: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        angle = position * self.frequencies
        cos, sin = angle.cos(), angle.sin()
        here = self.slots == position
        mask = torch.where(self.slots.view(1, 1, 1, -1) <= position, 0.0, -1e4)
        new_keys, new_values = [], []
        for index, layer in enumerate(self.layers):
            x, k, v = layer(x, keys[index : index + 1], values[index : index + 1], here, mask, cos, sin)
            new_keys.append(k)
            new_values.append(v)
        return x, torch.cat(new_keys), torch.cat(new_values)


class Gated(nn.Module):
    """A GRU, which the converter writes as a loop of one step an iteration."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.gru = nn.GRU(width, width, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.gru(x)[0]


class FrontEnd(nn.Module):
    """A log-mel spectrum of a short piece: an STFT, magnitudes, filters, normalization."""

    window: Tensor
    filters: Tensor

    def __init__(self, size: int = 400, hop: int = 160, bands: int = 80) -> None:
        super().__init__()
        self.size, self.hop = size, hop
        self.register_buffer("window", torch.hann_window(size))
        self.register_buffer("filters", torch.rand(bands, size // 2 + 1))

    def forward(self, audio: Tensor) -> Tensor:
        emphasized = torch.cat([audio[:, :1], audio[:, 1:] - 0.97 * audio[:, :-1]], 1)
        spectrum = torch.stft(emphasized, self.size, self.hop, window=self.window, center=True, return_complex=True)
        power = torch.real(spectrum) ** 2 + torch.imag(spectrum) ** 2
        mel = torch.log(self.filters @ power + 1e-5)
        mean = mel.mean(2, keepdim=True)
        spread = torch.sqrt(((mel - mean) ** 2).mean(2, keepdim=True) + 1e-5)
        return (mel - mean) / spread


@dataclass(frozen=True)
class Workload:
    """A module and the inputs that it is timed on."""

    name: str
    build: Callable[[], nn.Module]
    inputs: dict[str, tuple[tuple[int, ...], torch.dtype]]

    def module(self) -> nn.Module:
        torch.manual_seed(0)
        return self.build().eval()

    def example(self) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(1)
        return {
            name: torch.randn(shape, generator=generator)
            if dtype.is_floating_point
            else torch.randint(0, 100, shape, generator=generator, dtype=dtype)
            for name, (shape, dtype) in self.inputs.items()
        }


WORKLOADS = (
    Workload("vocoder", Vocoder, {"mel": ((1, 80, 60), torch.float32)}),
    Workload("encoder", Encoder, {"ids": ((1, 128), torch.int32)}),
    Workload("recurrent", Recurrent, {"x": ((1, 256, 200), torch.float32)}),
    Workload(
        "step",
        Step,
        {
            "x": ((1, 1, 256), torch.float32),
            "position": ((1,), torch.int32),
            "keys": ((6, 4, 128, 64), torch.float32),
            "values": ((6, 4, 128, 64), torch.float32),
        },
    ),
    Workload("gru", Gated, {"x": ((1, 200, 128), torch.float32)}),
    Workload("front end", FrontEnd, {"audio": ((1, 4000), torch.float32)}),
)
