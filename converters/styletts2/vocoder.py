"""The decoder: from aligned text, pitch, energy and style to audio."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from converters.styletts2.layers import Activation, Frames, Span, filled, snake, snaked, styled
from references.styletts2.cases import HARMONICS

RATES = (10, 5, 3, 2)
"""Factors by which each step of the generator is finer than the one before."""
F0_HOP = 300


class HarmonicSource(nn.Module):
    """Sines of the pitch and its harmonics, and noise. Their phase runs to thousands of turns: all stays in fp32.

    Upstream spreads F0 to the sample rate and samples it again 300 times lower, which gives F0 back: that round trip is
    left out. `x % 1` is written `x - floor(x)`, because the converter turns the former into zeros.
    """

    harmonic: Tensor

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        source = upstream["decoder"].generator.m_source
        self.sines, self.merge = source.l_sin_gen, source.l_linear
        self.register_buffer("harmonic", torch.arange(1, HARMONICS + 1, dtype=torch.float32)[None, :, None])

    def forward(self, F0_curve: Tensor, source_noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # A divisor, not a constant: the converter would multiply by its rounded inverse, and what follows turns one
        # unit in the last place of a frame's turns into milliradians.
        rate = torch.full_like(F0_curve[:, None], self.sines.sampling_rate)
        turns = F0_curve[:, None] * self.harmonic / rate
        turns = turns - torch.floor(turns)
        phase = torch.cumsum(turns, 2)
        fine = F.interpolate(phase * 2 * torch.pi * F0_HOP, scale_factor=float(F0_HOP), mode="linear")
        voiced = F.interpolate((F0_curve[:, None] > self.sines.voiced_threshold).float(), scale_factor=float(F0_HOP))
        voiced = voiced.transpose(1, 2)
        amplitude = voiced * self.sines.noise_std + (1 - voiced) * self.sines.sine_amp / 3
        sines = torch.sin(fine).transpose(1, 2) * self.sines.sine_amp * voiced + amplitude * source_noise
        merged = torch.tanh(self.merge(sines))
        return turns.transpose(1, 2), phase.transpose(1, 2), merged.reshape(-1)


class Decoder(nn.Module):
    """Upstream's decoder with the generator of HiFi-GAN."""

    activation: Activation = staticmethod(snake)

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        self.decoder = upstream["decoder"]
        self.source = HarmonicSource(upstream)

    def forward(self, asr: Tensor, F0_curve: Tensor, N: Tensor, s: Tensor, source_noise: Tensor) -> Tensor:
        frames = Frames(Span(filled(asr, 1)).mask)
        finer = frames.finer(2)
        x = self._decoded(asr, F0_curve, N, s, frames, finer)
        source = self.source(F0_curve, source_noise)[2].reshape(1, 1, -1)
        return self._generated(x * finer.mask, source, s, finer)

    def _decoded(self, asr: Tensor, F0_curve: Tensor, N: Tensor, s: Tensor, frames: Frames, finer: Frames) -> Tensor:
        decoder = self.decoder
        f0, n = decoder.F0_conv(F0_curve[:, None]), decoder.N_conv(N[:, None])
        x = styled(decoder.encode, torch.cat([asr, f0, n], 1), s, frames, frames)
        residual = decoder.asr_res(asr)
        *same, last = decoder.decode
        for block in same:
            x = styled(block, torch.cat([x, residual, f0, n], 1), s, frames, frames)
        return styled(last, torch.cat([x, residual, f0, n], 1), s, frames, finer)

    def _generated(self, x: Tensor, source: Tensor, s: Tensor, frames: Frames) -> Tensor:
        generator = self.decoder.generator
        kernels = generator.num_kernels
        act = self.activation
        source = source * frames.finer(F0_HOP).mask
        for i, rate in enumerate(RATES):
            frames = frames.finer(rate)
            harmonic = snaked(generator.noise_res[i], generator.noise_convs[i](source), s, frames, act)
            x = generator.ups[i](act(x, generator.alphas[i])) + harmonic
            blocks = generator.resblocks[i * kernels : (i + 1) * kernels]
            x = sum((snaked(block, x, s, frames, act) for block in blocks[1:]), snaked(blocks[0], x, s, frames, act))
            x = x / kernels * frames.mask
        return torch.tanh(generator.conv_post(act(x, generator.alphas[len(RATES)])))
