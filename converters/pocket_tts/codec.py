"""Mimi's decoder, one frame of 80 ms at a time: what its convolutions and its attention remember goes in and out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from converters.pocket_tts.attention import Attention, RingAttention, Transformer

POSITIONS = 16
"""Positions of Mimi's transformer in one frame."""
MOST_FRAMES = 512
"""More than the flow LM's caches let it generate: how far Mimi's angles are looked up."""


def ring(context: int) -> int:
    """Slots of a ring that holds all that a frame's first position may attend to beside the frame itself."""
    return -(-(context + POSITIONS - 1) // POSITIONS) * POSITIONS


class Conv(nn.Module):
    """A causal convolution that remembers the end of its input."""

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        self.conv = upstream.conv
        (kernel,), (dilation,), (stride,) = self.conv.kernel_size, self.conv.dilation, self.conv.stride
        self.kept = (kernel - 1) * dilation + 1 - stride

    def forward(self, x: Tensor, states: Iterator[Tensor], changed: list[Tensor]) -> Tensor:
        if self.kept:
            x = torch.cat([next(states), x], -1)
            changed.append(x[..., -self.kept :])
        y: Tensor = self.conv(x)
        return y


class ConvTranspose(nn.Module):
    """A transposed convolution that holds back what the next frame still adds to, without the bias, which that frame
    brings along."""

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        self.convtr = upstream.convtr
        self.kept = self.convtr.kernel_size[0] - self.convtr.stride[0]

    def forward(self, x: Tensor, states: Iterator[Tensor], changed: list[Tensor]) -> Tensor:
        y: Tensor = self.convtr(x)
        y, tail = y[..., : -self.kept], y[..., -self.kept :]
        bias = self.convtr.bias
        changed.append(tail if bias is None else tail - bias[:, None])
        first = y[..., : self.kept] + next(states)
        # Core ML knows no empty tensors, which the rest of a single step would be.
        return first if y.shape[-1] == self.kept else torch.cat([first, y[..., self.kept :]], -1)


class Residual(nn.Module):
    def __init__(self, upstream: Any) -> None:
        super().__init__()
        self.layers = nn.ModuleList(map(streaming, upstream.block))

    def forward(self, x: Tensor, states: Iterator[Tensor], changed: list[Tensor]) -> Tensor:
        return x + through(self.layers, x, states, changed)


def streaming(layer: Any) -> nn.Module:
    """Our counterpart of one of SEANet's layers; an activation is its own."""
    for attribute, counterpart in (("convtr", ConvTranspose), ("conv", Conv), ("block", Residual)):
        if hasattr(layer, attribute):
            return counterpart(layer)
    activation: nn.Module = layer
    return activation


def through(layers: nn.ModuleList, x: Tensor, states: Iterator[Tensor], changed: list[Tensor]) -> Tensor:
    """Runs the layers, each of which takes its state, if it has one, and leaves the new one behind."""
    for layer in layers:
        x = layer(x, states, changed) if isinstance(layer, Conv | ConvTranspose | Residual) else layer(x)
    return x


class MimiDecoder(nn.Module):
    """From a latent as it was generated to 1920 samples. States come and go in the order of decoding: what upsampling
    holds back, the transformer's caches, its positions, then SEANet's."""

    attention: type[Attention] = RingAttention

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        mimi = upstream.mimi
        projected = mimi.decoder_transformer
        self.emb_std, self.emb_mean = upstream.flow_lm.emb_std, upstream.flow_lm.emb_mean
        self.output_proj = mimi.quantizer.output_proj
        self.upsample = ConvTranspose(mimi.upsample.convtr)
        self.input_proj = projected.input_proj or nn.Identity()
        (self.project,) = projected.output_projs
        slots = ring(projected.transformer.context)
        self.transformer = Transformer(projected.transformer, self.attention, slots, MOST_FRAMES * POSITIONS)
        self.layers = nn.ModuleList(map(streaming, mimi.decoder.model))

    def forward(self, latent: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        depth = len(self.transformer.blocks)
        upsampling, caches, positions = states[:1], states[1 : depth + 1], states[depth + 1 : 2 * depth + 1]
        held_back: list[Tensor] = []
        changed: list[Tensor] = []
        x = self.output_proj(self.scaled(latent)[:, :, None])
        x = self.upsample(x, iter(upsampling), held_back)
        x, caches = self.transformer(self.input_proj(x.transpose(1, 2)), caches, positions)
        x = self.project(x).transpose(1, 2)
        audio = through(self.layers, x, iter(states[2 * depth + 1 :]), changed)
        moved = (position + POSITIONS for position in positions)
        return (audio, *held_back, *caches, *moved, *changed)

    def scaled(self, latent: Tensor) -> Tensor:
        return latent * self.emb_std + self.emb_mean
