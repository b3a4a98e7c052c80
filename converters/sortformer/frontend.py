"""From audio to mel features, and from features to embeddings packed behind the speaker cache and the queue."""

from __future__ import annotations

from itertools import count as count_up
from itertools import takewhile
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from converters.sortformer.layers import State, conv2d, linear
from references.sortformer.config import BEFORE, BLOCK, FEATURES, HOP, SAMPLES, SUBSAMPLING

SAMPLE_RATE, WINDOW, FFT, MELS = 16_000, 400, 512, FEATURES
MARGIN = SAMPLES - BLOCK * HOP
"""Samples of a block beyond one hop for each frame."""
PREEMPHASIS = 0.97
LOG_GUARD = 2.0**-24


def mel_filters() -> Tensor:
    """Slaney's filters, each of area one, (bins, mels)."""
    # Linear up to 1 kHz, in thirds of 200 Hz; from there on 27 steps to a factor of 6.4.
    top = 15 + 27 * np.log(SAMPLE_RATE / 2 / 1000) / np.log(6.4)
    mels = np.linspace(0, top, MELS + 2)
    edges = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp((mels - 15) * np.log(6.4) / 27))
    frequencies = np.arange(FFT // 2 + 1) * (SAMPLE_RATE / FFT)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising = (frequencies[:, None] - low) / (centre - low)
    falling = (high - frequencies[:, None]) / (high - centre)
    filters = np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low)
    return torch.from_numpy(filters.astype(np.float32))


def dft_kernels() -> Tensor:
    """Windowed cosines, then sines, (2 · bins, 1, window). Where a frame's phase begins does not matter to its power,
    so that the zeros around the window are left out."""
    window = torch.hann_window(WINDOW, periodic=False, dtype=torch.float64)
    angle = 2 * torch.pi * torch.outer(torch.arange(FFT // 2 + 1), torch.arange(WINDOW)).remainder(FFT).double() / FFT
    return torch.cat([torch.cos(angle) * window, torch.sin(angle) * window]).float()[:, None]


def count(valid: Tensor) -> Tensor:
    """Return how many there are, (1,). It avoids division, because the converter turns integer division into floats."""
    return valid.to(torch.int32).sum(0, keepdim=True, dtype=torch.int32)


class Preprocessor(nn.Module):
    """Log mel features of a block of `frames` frames. The block, (1, 160 · (frames + 3)), begins 320 samples before its
    first frame's centre; of its samples `length` are part of the recording, or of the zeros before it."""

    kernels: Tensor
    filters: Tensor
    samples: Tensor
    ends: Tensor

    def __init__(self, upstream: Any, frames: int = BLOCK) -> None:
        super().__init__()
        # Frame 0 sees samples from here on.
        self.first = BEFORE - WINDOW // 2
        self.register_buffer("kernels", dft_kernels())
        self.register_buffer("filters", mel_filters())
        self.register_buffer("samples", torch.arange(self.first, HOP * frames + MARGIN, dtype=torch.int32))
        # A frame counts once all samples up to the next one's centre are there.
        self.register_buffer("ends", BEFORE + HOP * torch.arange(1, frames + 1, dtype=torch.int32))

    def forward(self, audio_signal: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        emphasised = audio_signal[:, self.first :] - PREEMPHASIS * audio_signal[:, self.first - 1 : -1]
        # The recording's end is no edge: what pre-emphasis makes of the zero behind it doesn't count.
        emphasised = torch.where(self.samples < length, emphasised, torch.zeros_like(emphasised))
        spectrum = F.conv1d(emphasised[:, None], self.kernels, stride=HOP)
        real_part, imaginary = torch.split(spectrum, FFT // 2 + 1, 1)
        power = real_part * real_part + imaginary * imaginary
        features = torch.log(power.transpose(1, 2) @ self.filters + LOG_GUARD)
        valid = self.ends <= length
        return torch.where(valid[:, None], features, torch.zeros_like(features)), count(valid)


class Stage(nn.Module):
    """Halves time and frequency, channel by channel, and mixes the channels."""

    def __init__(self, state: State, depthwise: str, pointwise: str) -> None:
        super().__init__()
        self.depthwise = conv2d(state, depthwise, stride=2, groups=state[f"{depthwise}.weight"].shape[0])
        self.pointwise = conv2d(state, pointwise)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.pointwise(self.depthwise(x)))


class Subsampling(nn.Module):
    """From frames of 10 ms, (1, frames, 128), to embeddings of 80 ms."""

    positions: Tensor

    def __init__(self, state: State, frames: int) -> None:
        super().__init__()
        name = "encoder.pre_encode"
        self.first = conv2d(state, f"{name}.conv.0", stride=2)
        self.stages = nn.ModuleList(
            Stage(state, f"{name}.conv.{i}", f"{name}.conv.{i + 1}")
            for i in takewhile(lambda i: f"{name}.conv.{i}.weight" in state, count_up(2, 3))
        )
        self.out = linear(state, f"{name}.out")
        self.register_buffer("positions", torch.arange(frames, dtype=torch.int32))

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings and how many are valid. The others are zeros."""
        valid = self.valid(lengths, 1)[:, None]
        x = F.relu(self.first(torch.where(valid, x, torch.zeros_like(x))[:, None]))
        stride = 2
        for stage in self.stages:
            # Upstream masks before each convolution, so that a recording ends in zeros at every rate.
            x = stage(x * self.valid(lengths, stride)[:, None].to(x.dtype))
            stride *= 2
        x = self.out(x.transpose(1, 2).flatten(2))
        kept = self.valid(lengths, stride)
        return x * kept[:, None].to(x.dtype), count(kept)

    def valid(self, lengths: Tensor, stride: int) -> Tensor:
        """Return which frames lie before the end, at one frame for every `stride`.

        Each convolution rounds lengths up, so that a frame counts if the first one that it stands for does.
        """
        return self.positions[::stride] < lengths


class PreEncoder(nn.Module):
    """Embeds the chunk and packs the valid rows of cache, queue and chunk from the start; zeros are behind them."""

    positions: Tensor
    nothing: Tensor

    def __init__(self, upstream: Any, streaming: Any) -> None:
        super().__init__()
        self.cache, self.queue = streaming.spkcache_len, streaming.fifo_len
        chunk = streaming.chunk_left_context + streaming.chunk_len + streaming.chunk_right_context
        self.subsampling = Subsampling(upstream.state, SUBSAMPLING * chunk)
        self.rows = self.cache + self.queue + chunk
        self.register_buffer("positions", torch.arange(self.rows, dtype=torch.int32))
        self.register_buffer("nothing", torch.zeros(1, 1, self.subsampling.out.out_features))

    def forward(
        self,
        chunk: Tensor,
        chunk_lengths: Tensor,
        spkcache: Tensor,
        spkcache_lengths: Tensor,
        fifo: Tensor,
        fifo_lengths: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        embedded, embedded_lengths = self.subsampling(chunk, chunk_lengths)
        queued = spkcache_lengths + fifo_lengths
        total = queued + embedded_lengths
        # Where each row comes from: what is behind a part moves up by what that part lacks.
        behind_cache = self.positions + (self.cache - spkcache_lengths)
        behind_queue = self.positions + (self.cache + self.queue - queued)
        source = torch.where(self.positions < spkcache_lengths, self.positions, behind_cache)
        source = torch.where(self.positions < queued, source, behind_queue)
        # Behind the last valid row, one of zeros is taken again and again.
        source = torch.where(self.positions < total, source, torch.full_like(self.positions, self.rows))
        packed = torch.cat([spkcache, fifo, embedded, self.nothing], 1).index_select(1, source)
        return packed, total, embedded, embedded_lengths
