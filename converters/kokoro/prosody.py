"""Pitch and loudness of each frame."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from converters.kokoro.layers import styled


class Prosody(nn.Module):
    """Pitch and loudness curves."""

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        self.predictor = upstream.predictor

    def forward(self, en: Tensor, style_s: Tensor) -> tuple[Tensor, Tensor]:
        shared = self.predictor.shared(en.transpose(1, 2))[0].transpose(1, 2)
        f0 = n = shared
        for block in self.predictor.F0:
            f0 = styled(block, f0, style_s)
        for block in self.predictor.N:
            n = styled(block, n, style_s)
        return self.predictor.F0_proj(f0)[:, 0], self.predictor.N_proj(n)[:, 0]
