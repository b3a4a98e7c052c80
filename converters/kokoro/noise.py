"""The harmonic source of the vocoder, whole and in the two parts by which it is compared with upstream."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from converters.kokoro.layers import forward_stft, snaked

HARMONICS = 9
SAMPLES_PER_FRAME = 600
F0_HOP = 300


def angle_of(imaginary: Tensor, real_part: Tensor) -> Tensor:
    """atan2 spelled out: the converter's own gives 0 for (0, negative), where upstream's angle is π."""
    right = torch.where(real_part == 0, torch.full_like(real_part, 1e-30), real_part)
    turn = torch.where(imaginary < 0, torch.full_like(right, -torch.pi), torch.full_like(right, torch.pi))
    return torch.atan(imaginary / right) + torch.where(right < 0, turn, torch.zeros_like(right))


class Noise(nn.Module):
    """The harmonic source. Its phase runs to thousands of turns, so all of it stays in fp32.

    Upstream spreads F0 to the sample rate and samples it again 300 times lower, which gives F0 back: that round trip is
    left out. `x % 1` is written `x - floor(x)`, because the converter turns the former into zeros.
    """

    real_kernel: Tensor
    imaginary_kernel: Tensor
    harmonic: Tensor

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        generator = upstream.decoder.generator
        source = generator.m_source
        self.sines, self.merge = source.l_sin_gen, source.l_linear
        self.noise_convs, self.noise_res = generator.noise_convs, generator.noise_res
        self.fft, self.hop = generator.stft.filter_length, generator.stft.hop_length
        real_kernel, imaginary_kernel = forward_stft(self.fft)
        self.register_buffer("real_kernel", real_kernel)
        self.register_buffer("imaginary_kernel", imaginary_kernel)
        self.register_buffer("harmonic", torch.arange(1, HARMONICS + 1, dtype=torch.float32)[None, :, None])

    def forward(self, F0_curve: Tensor, style_timbre: Tensor, source_noise: Tensor) -> tuple[Tensor, Tensor]:
        return self.sources(
            self.spectrum(torch.tanh(self.merge(self._harmonics(F0_curve, source_noise)))), style_timbre
        )

    def spectrum(self, merged: Tensor) -> Tensor:
        """Return magnitudes and angles of the merged harmonics."""
        x = merged.transpose(1, 2)
        x = F.pad(x, (self.fft // 2, self.fft // 2), mode="reflect")
        real_part = F.conv1d(x, self.real_kernel, stride=self.hop)
        imaginary = F.conv1d(x, self.imaginary_kernel, stride=self.hop)
        return torch.cat([torch.sqrt(real_part**2 + imaginary**2), angle_of(imaginary, real_part)], 1)

    def sources(self, spectrum: Tensor, style_timbre: Tensor) -> tuple[Tensor, Tensor]:
        first, second = (
            snaked(block, conv(spectrum), style_timbre)
            for conv, block in zip(self.noise_convs, self.noise_res, strict=True)
        )
        return first, second

    def _harmonics(self, F0_curve: Tensor, source_noise: Tensor) -> Tensor:
        # A divisor, not a constant: the converter would multiply by its rounded inverse, and what follows turns one
        # unit in the last place of a frame's turns into milliradians.
        rate = torch.full_like(F0_curve[:, None], self.sines.sampling_rate)
        turns = F0_curve[:, None] * self.harmonic / rate
        phase = torch.cumsum(turns - torch.floor(turns), 2) * 2 * torch.pi
        phase = F.interpolate(phase * F0_HOP, scale_factor=float(F0_HOP), mode="linear")
        voiced = F.interpolate((F0_curve[:, None] > self.sines.voiced_threshold).float(), scale_factor=float(F0_HOP))
        voiced = voiced.transpose(1, 2)
        amplitude = voiced * self.sines.noise_std + (1 - voiced) * self.sines.sine_amp / 3
        return torch.sin(phase).transpose(1, 2) * self.sines.sine_amp * voiced + amplitude * source_noise


class NoiseSpectrum(nn.Module):
    """The spectrum within the noise stage, as complex numbers, on upstream's merged harmonics.

    An angle jumps by a turn where the imaginary part of a negative number rounds through zero. One such jump in 16,000
    values moves the sources by as much as a bug would; the complex number behind it does not move.
    """

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        self.noise = Noise(upstream)

    def forward(self, merged: Tensor) -> tuple[Tensor, Tensor]:
        magnitude, angle = self.noise.spectrum(merged).chunk(2, 1)
        return magnitude * torch.cos(angle), magnitude * torch.sin(angle)


class NoiseSources(nn.Module):
    """The rear of the noise stage, on upstream's magnitudes and angles."""

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        self.noise = Noise(upstream)

    def forward(self, spectrum: Tensor, style_timbre: Tensor) -> tuple[Tensor, Tensor]:
        return self.noise.sources(spectrum, style_timbre)
