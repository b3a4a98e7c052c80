"""Sortformer's traceable modules with a slip in one line of one layer."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from converters.sortformer.encoder import ConformerLayer, Convolution, RelativeAttention, relative_positions, shifted
from converters.sortformer.frontend import PreEncoder, Subsampling, count
from converters.sortformer.head import Attention, Head
from references.sortformer.config import SUBSAMPLING


class Whole(ConformerLayer):
    """Takes the whole of the first feed-forward."""

    def forward(self, x: Tensor, valid: Tensor, unseen: Tensor) -> Tensor:
        x = x + self.feed_in(self.norm_feed_in(x))
        x = x + self.attention(self.norm_attention(x), unseen)
        x = x + self.convolution(self.norm_convolution(x), valid)
        x = x + 0.5 * self.feed_out(self.norm_feed_out(x))
        return self.norm_out(x)


class WholeHead(Head):
    def __init__(self, upstream: Any, frames: int) -> None:
        super().__init__(upstream, frames)
        distances = relative_positions(frames, upstream.sizes.width)
        self.conformer.layers[3] = Whole(upstream.state, "encoder.layers.3", distances)


class UnscaledHead(Head):
    """Forgets the factor before the first layer."""

    def __init__(self, upstream: Any, frames: int) -> None:
        super().__init__(upstream, frames)
        self.conformer.scale = 1.0


class Shifted(RelativeAttention):
    """Takes each distance for the next one."""

    def forward(self, x: Tensor, unseen: Tensor) -> Tensor:
        query, key, value = (self.split(part) for part in (self.query(x), self.key(x), self.value(x)))
        by_content = self.scaled(query + self.content_bias) @ key.permute(0, 2, 3, 1)
        by_position = self.scaled(query + self.position_bias) @ self.distances
        weights = (by_content + shifted(by_position).roll(1, -1) + unseen).softmax(-1)
        return self.out((weights @ value.transpose(1, 2)).transpose(1, 2).flatten(2))


class ShiftedHead(Head):
    def __init__(self, upstream: Any, frames: int) -> None:
        super().__init__(upstream, frames)
        distances = relative_positions(frames, upstream.sizes.width)
        layer: Any = self.conformer.layers[2]
        layer.attention = Shifted(upstream.state, "encoder.layers.2.self_attn", distances)


class Swapped(Convolution):
    """Takes the gate for what it gates."""

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        gate, value = self.pointwise_in(x.transpose(1, 2)).chunk(2, 1)
        x = value * torch.sigmoid(gate) * valid
        return self.pointwise_out(F.silu(self.norm(self.depthwise(x)))).transpose(1, 2)


class SwappedHead(Head):
    def __init__(self, upstream: Any, frames: int) -> None:
        super().__init__(upstream, frames)
        layer: Any = self.conformer.layers[1]
        layer.convolution = Swapped(upstream.state, "encoder.layers.1.conv")


class Sharp(Attention):
    """Forgets to divide by the square root of a head's size."""

    def forward(self, x: Tensor, unseen: Tensor) -> Tensor:
        query, key, value = (self.split(part) for part in (self.query(x), self.key(x), self.value(x)))
        scores = query @ key.transpose(-1, -2)
        return self.out(((scores + unseen).softmax(-1) @ value).transpose(1, 2).flatten(2))


class SharpHead(Head):
    def __init__(self, upstream: Any, frames: int) -> None:
        super().__init__(upstream, frames)
        layer: Any = self.layers[0]
        layer.attention = Sharp(upstream.state, "transformer_encoder.layers.0.first_sub_layer", layer.attention.heads)


class Leaking(Subsampling):
    """Masks what it is given, and no stage of it after that."""

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.first(x[:, None] * self.valid(lengths, 1)[:, None].to(x.dtype)))
        for stage in self.stages:
            x = stage(x)
        x = self.out(x.transpose(1, 2).flatten(2))
        kept = self.valid(lengths, SUBSAMPLING)
        return x * kept[:, None].to(x.dtype), count(kept)


class LeakingPreEncoder(PreEncoder):
    def __init__(self, upstream: Any, streaming: Any) -> None:
        super().__init__(upstream, streaming)
        self.subsampling = Leaking(upstream.state, SUBSAMPLING * streaming.window)
