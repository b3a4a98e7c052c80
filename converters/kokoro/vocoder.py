"""From frames to audio: the decoder up to its last convolution, and the tail behind it."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from converters.kokoro.layers import forward_stft, snaked, styled


class Vocoder(nn.Module):
    """The decoder up to the last convolution. `anchor` keeps the whole body in one piece on the Neural Engine."""

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        self.decoder = upstream.decoder

    def forward(
        self,
        asr: Tensor,
        F0_curve: Tensor,
        N_pred: Tensor,
        x_source_0: Tensor,
        x_source_1: Tensor,
        style_timbre: Tensor,
    ) -> tuple[Tensor, Tensor]:
        f0, n = self.decoder.F0_conv(F0_curve[:, None]), self.decoder.N_conv(N_pred[:, None])
        x = styled(self.decoder.encode, torch.cat([asr, f0, n], 1), style_timbre)
        residual = self.decoder.asr_res(asr)
        for block in self.decoder.decode:
            x = styled(block, torch.cat([x, residual, f0, n], 1), style_timbre)
        anchor = x.mean((1, 2), keepdim=True).reshape(1)
        return anchor, self._generate(x, (x_source_0, x_source_1), style_timbre)

    def _generate(self, x: Tensor, sources: tuple[Tensor, Tensor], style: Tensor) -> Tensor:
        generator = self.decoder.generator
        for i, (up, source) in enumerate(zip(generator.ups, sources, strict=True)):
            x = up(F.leaky_relu(x, 0.1))
            if i == generator.num_upsamples - 1:
                x = generator.reflection_pad(x)
            x = x + source
            blocks = generator.resblocks[i * generator.num_kernels : (i + 1) * generator.num_kernels]
            x = sum((snaked(block, x, style) for block in blocks[1:]), snaked(blocks[0], x, style))
            x = x / generator.num_kernels
        return F.leaky_relu(x)


class Tail(nn.Module):
    """conv_post, exp, sin and the inverse STFT as transposed convolutions: Core ML has no complex numbers.

    Overlapping windows add up to 1.5, and to less at both ends, so their sum is computed and divided away.
    """

    real_kernel: Tensor
    imaginary_kernel: Tensor
    window_power: Tensor

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        generator = upstream.decoder.generator
        self.conv_post = generator.conv_post
        self.fft, self.hop = generator.stft.filter_length, generator.stft.hop_length
        self.bins = self.fft // 2 + 1
        real_kernel, imaginary_kernel = forward_stft(self.fft)
        doubled = torch.full((self.bins, 1, 1), 2.0 / self.fft)
        doubled[0] = doubled[-1] = 1.0 / self.fft
        self.register_buffer("real_kernel", real_kernel * doubled)
        self.register_buffer("imaginary_kernel", imaginary_kernel * doubled)
        self.register_buffer("window_power", torch.hann_window(self.fft)[None, None] ** 2)

    def forward(self, x_pre: Tensor) -> Tensor:
        x = self.conv_post(x_pre)
        magnitude, phase = torch.exp(x[:, : self.bins]), torch.sin(x[:, self.bins :])
        audio = F.conv_transpose1d(magnitude * torch.cos(phase), self.real_kernel, stride=self.hop)
        audio = audio + F.conv_transpose1d(magnitude * torch.sin(phase), self.imaginary_kernel, stride=self.hop)
        overlap = F.conv_transpose1d(torch.ones_like(x[:, :1]), self.window_power, stride=self.hop)
        edge = self.fft // 2
        return (audio[:, :, edge:-edge] / overlap[:, :, edge:-edge]).reshape(-1)
