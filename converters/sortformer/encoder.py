"""The conformer: relative positions in its attention, a convolution that does not see what is masked."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from converters.sortformer.layers import State, batch_norm, conv1d, depth, layer_norm, linear

FORBIDDEN = -1e4
"""Added to the score of a key that must not be seen: its weight is exactly zero, and half precision can hold it."""


def relative_positions(frames: int, width: int) -> Tensor:
    """Sines and cosines of the distances from frames − 1 down to 1 − frames, (1, 2 · frames − 1, width)."""
    distances = torch.arange(frames - 1, -frames, -1, dtype=torch.float32)[:, None]
    angles = distances * torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * -(math.log(10_000.0) / width))
    return torch.stack([torch.sin(angles), torch.cos(angles)], -1).flatten(1)[None]


def shifted(scores: Tensor) -> Tensor:
    """From a score for each distance, (1, heads, frames, 2 · frames − 1), to one for each key: row i is moved left by
    frames − 1 − i. A column in front and another width of the rows do that, as Transformer-XL has it."""
    _, heads, frames, distances = (int(size) for size in scores.shape)
    scores = F.pad(scores, (1, 0)).reshape(1, heads, distances + 1, frames)
    return scores[:, :, 1:].reshape(1, heads, frames, distances)[..., :frames]


class RelativeAttention(nn.Module):
    """Attention that scores a key by what it holds and by how far it is."""

    distances: Tensor

    def __init__(self, state: State, name: str, distances: Tensor) -> None:
        super().__init__()
        self.query, self.key = linear(state, f"{name}.linear_q"), linear(state, f"{name}.linear_k")
        self.value, self.out = linear(state, f"{name}.linear_v"), linear(state, f"{name}.linear_out")
        self.content_bias = nn.Parameter(state[f"{name}.pos_bias_u"].clone())
        self.position_bias = nn.Parameter(state[f"{name}.pos_bias_v"].clone())
        self.heads, self.size = self.content_bias.shape
        # Their projection is as constant as they are. The converter would find that out, and give it a name of its own.
        with torch.no_grad():
            projected = self.split(linear(state, f"{name}.linear_pos")(distances))
        self.register_buffer("distances", projected.permute(0, 2, 3, 1).contiguous())

    def forward(self, x: Tensor, unseen: Tensor) -> Tensor:
        query, key, value = (self.split(part) for part in (self.query(x), self.key(x), self.value(x)))
        by_content = self.scaled(query + self.content_bias) @ key.permute(0, 2, 3, 1)
        by_position = self.scaled(query + self.position_bias) @ self.distances
        weights = (by_content + shifted(by_position) + unseen).softmax(-1)
        return self.out((weights @ value.transpose(1, 2)).transpose(1, 2).flatten(2))

    def split(self, x: Tensor) -> Tensor:
        return torch.unflatten(x, -1, (self.heads, self.size))

    def scaled(self, query: Tensor) -> Tensor:
        return (query * self.size**-0.5).transpose(1, 2)


class Convolution(nn.Module):
    def __init__(self, state: State, name: str) -> None:
        super().__init__()
        self.pointwise_in = conv1d(state, f"{name}.pointwise_conv1")
        self.depthwise = conv1d(state, f"{name}.depthwise_conv")
        self.norm = batch_norm(state, f"{name}.batch_norm")
        self.pointwise_out = conv1d(state, f"{name}.pointwise_conv2")

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """`valid`, (frames,), is 0 where a frame is padding, and 1 elsewhere."""
        x = F.glu(self.pointwise_in(x.transpose(1, 2)), 1) * valid
        return self.pointwise_out(F.silu(self.norm(self.depthwise(x)))).transpose(1, 2)


class FeedForward(nn.Module):
    def __init__(self, state: State, name: str) -> None:
        super().__init__()
        self.inner, self.outer = linear(state, f"{name}.linear1"), linear(state, f"{name}.linear2")

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(F.silu(self.inner(x)))


class ConformerLayer(nn.Module):
    def __init__(self, state: State, name: str, distances: Tensor) -> None:
        super().__init__()
        self.norm_feed_in = layer_norm(state, f"{name}.norm_feed_forward1")
        self.feed_in = FeedForward(state, f"{name}.feed_forward1")
        self.norm_attention = layer_norm(state, f"{name}.norm_self_att")
        self.attention = RelativeAttention(state, f"{name}.self_attn", distances)
        self.norm_convolution = layer_norm(state, f"{name}.norm_conv")
        self.convolution = Convolution(state, f"{name}.conv")
        self.norm_feed_out = layer_norm(state, f"{name}.norm_feed_forward2")
        self.feed_out = FeedForward(state, f"{name}.feed_forward2")
        self.norm_out = layer_norm(state, f"{name}.norm_out")

    def forward(self, x: Tensor, valid: Tensor, unseen: Tensor) -> Tensor:
        x = x + 0.5 * self.feed_in(self.norm_feed_in(x))
        x = x + self.attention(self.norm_attention(x), unseen)
        x = x + self.convolution(self.norm_convolution(x), valid)
        x = x + 0.5 * self.feed_out(self.norm_feed_out(x))
        return self.norm_out(x)


class Conformer(nn.Module):
    """Upstream's encoder behind its subsampling, for exactly `frames` frames. What comes out of padding is undefined,
    and leaves no trace in the rest."""

    def __init__(self, state: State, frames: int) -> None:
        super().__init__()
        name = "encoder.layers"
        width = state[f"{name}.0.norm_out.weight"].shape[0]
        distances = relative_positions(frames, width)
        self.layers = nn.ModuleList(ConformerLayer(state, f"{name}.{i}", distances) for i in range(depth(state, name)))
        self.scale = math.sqrt(width)

    def forward(self, x: Tensor, valid: Tensor, unseen: Tensor) -> Tensor:
        x = x * self.scale
        for layer in self.layers:
            x = layer(x, valid, unseen)
        return x
