"""Pitch and energy."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from converters.styletts2.layers import Bidirectional, Frames, Span, filled, styled


class F0NEnergy(nn.Module):
    """Pitch and energy curves, twice as fine as the frames."""

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        predictor = upstream["predictor"]
        self.shared = Bidirectional(predictor.shared)
        self.F0, self.F0_proj = predictor.F0, predictor.F0_proj
        self.N, self.N_proj = predictor.N, predictor.N_proj

    def forward(self, en: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        span = Span(filled(en, 1))
        frames = Frames(span.mask)
        finer = frames.finer(2)
        shared = self.shared(en.transpose(1, 2), span).transpose(1, 2)
        f0, n = (self._curve(blocks, shared, s, frames, finer) for blocks in (self.F0, self.N))
        return self.F0_proj(f0)[:, 0], self.N_proj(n)[:, 0]

    def _curve(self, blocks: Any, x: Tensor, s: Tensor, frames: Frames, finer: Frames) -> Tensor:
        first, second, third = blocks
        x = styled(first, x, s, frames, frames)
        return styled(third, styled(second, x, s, frames, finer), s, finer, finer)
