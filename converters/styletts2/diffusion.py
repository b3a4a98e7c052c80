"""One call of the denoiser that draws a style."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from converters.styletts2.layers import Span, filled


class DiffusionStep(nn.Module):
    """The denoiser with the scalings around it, on the text's encoding and the voice's style."""

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        diffusion = upstream["diffusion"].diffusion
        self.net = diffusion.net
        self.sigma_data = diffusion.sigma_data

    def forward(self, x_noisy: Tensor, sigma: Tensor, embedding: Tensor, features: Tensor) -> Tensor:
        scale = (sigma[:, None, None] ** 2 + self.sigma_data**2) ** -0.5
        predicted = self._predicted(scale * x_noisy, torch.log(sigma) * 0.25, embedding, features)
        return self.skip(scale) * x_noisy + sigma[:, None, None] * self.sigma_data * scale * predicted

    def skip(self, scale: Tensor) -> Tensor:
        """Share of the input that stays. Upstream divides a constant, and the converter adds 0.0001 below the line."""
        return scale * scale * self.sigma_data**2

    def _predicted(self, x: Tensor, time: Tensor, embedding: Tensor, features: Tensor) -> Tensor:
        net, span = self.net, Span(filled(embedding, 2))
        mapping = net.to_mapping(self._time(time) + net.to_features(features))[:, None]
        x = torch.cat([x.expand(1, embedding.shape[1], x.shape[2]), embedding], -1)
        masked = (1.0 - span.mask)[:, None, None, :] * -1e4
        for block in net.blocks:
            x = x + mapping
            x = self._attended(block.attention, x, features, masked) + x
            x = block.feed_forward(x) + x
        share = (span.mask / span.mask.sum(1, keepdim=True))[:, :, None]
        return net.to_out[1](x.transpose(1, 2) @ share).transpose(1, 2)

    def _time(self, time: Tensor) -> Tensor:
        embedding, project = self.net.to_time[0]
        angles = time[:, None] * embedding.weights[None] * 2 * torch.pi
        return self.net.to_time[1](project(torch.cat([time[:, None], angles.sin(), angles.cos()], -1)))

    def _attended(self, attention: Any, x: Tensor, style: Tensor, masked: Tensor) -> Tensor:
        """Upstream's attention; its own einsum of any rank is one that the converter refuses."""
        queried, context = attention.norm(x, style), attention.norm_context(x, style)
        key, value = attention.to_kv(context).chunk(2, -1)
        query, key, value = (self._split(attention, part) for part in (attention.to_q(queried), key, value))
        weights = (query @ key.transpose(-1, -2) * attention.attention.scale + masked).softmax(-1)
        return attention.attention.to_out((weights @ value).transpose(1, 2).flatten(2))

    def _split(self, attention: Any, x: Tensor) -> Tensor:
        return x.view(1, x.shape[1], attention.attention.num_heads, -1).transpose(1, 2)
