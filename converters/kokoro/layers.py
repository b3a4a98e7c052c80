"""Layers that several stages share: upstream's residual blocks, and the kernels of its Fourier transform."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def styled(block: Any, x: Tensor, style: Tensor) -> Tensor:
    """Upstream's residual block; its own forward takes the root of an integer, which the converter refuses."""
    return (block._residual(x, style) + block._shortcut(x)) * 2**-0.5


def snaked(block: Any, x: Tensor, style: Tensor) -> Tensor:
    """Upstream's residual block with Snake activations. Its own forward has `1 / alpha`, to which the converter adds
    0.0001 below the line; a division by alpha is left as it is."""
    layers = (block.convs1, block.convs2, block.adain1, block.adain2, block.alpha1, block.alpha2)
    for conv1, conv2, norm1, norm2, alpha1, alpha2 in zip(*layers, strict=True):
        y = norm1(x, style)
        y = norm2(conv1(y + torch.sin(alpha1 * y) ** 2 / alpha1), style)
        x = conv2(y + torch.sin(alpha2 * y) ** 2 / alpha2) + x
    return x


def forward_stft(fft: int) -> tuple[Tensor, Tensor]:
    """Hann-windowed DFT kernels, (bins, 1, fft). The imaginary parts of the first and last bin are exactly zero."""
    window = torch.hann_window(fft, periodic=True, dtype=torch.float64)
    angle = 2 * torch.pi * torch.outer(torch.arange(fft // 2 + 1), torch.arange(fft)).remainder(fft).double() / fft
    real_part, imaginary = torch.cos(angle) * window, -torch.sin(angle) * window
    imaginary[0] = imaginary[-1] = 0
    return real_part.float()[:, None], imaginary.float()[:, None]
