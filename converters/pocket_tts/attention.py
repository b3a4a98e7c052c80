"""Attention over a cache of a fixed number of slots, whole in and whole out: Core ML can't grow a tensor."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FORBIDDEN = -1e4
"""The score of a key that must not be seen: its weight is exactly zero, and half precision can hold it."""


class Rotary(nn.Module):
    """Rotary embeddings of interleaved pairs, with upstream's angles looked up by position.

    Positions and angles never become half-precision numbers, which can't tell 2049 from 2048: a position stays an
    integer, and what is rounded is its cosine and sine.
    """

    cosine: Tensor
    sine: Tensor

    def __init__(self, max_period: float, size: int, positions: int) -> None:
        super().__init__()
        pairs = torch.arange(size // 2, dtype=torch.float32)
        frequencies = torch.exp(pairs * (-math.log(max_period) * 2 / size))
        angles = frequencies * torch.arange(positions, dtype=torch.float32)[:, None]
        self.register_buffer("cosine", torch.cos(angles)[:, None])
        self.register_buffer("sine", torch.sin(angles)[:, None])

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        """Turns x, (rows, heads, size), each row by its position."""
        cosine, sine = self.cosine.index_select(0, positions), self.sine.index_select(0, positions)
        real_part, imaginary = self.pairs(x)
        return self.joined(real_part * cosine - imaginary * sine, real_part * sine + imaginary * cosine)

    def pairs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        paired = torch.unflatten(x, -1, (-1, 2))
        return paired[..., 0], paired[..., 1]

    def joined(self, real_part: Tensor, imaginary: Tensor) -> Tensor:
        return torch.stack([real_part, imaginary], -1).flatten(-2)


class Attention(nn.Module):
    """Upstream's attention where slot n of the cache, (2, 1, slots, heads, size), holds position n.

    A position beyond the last slot is written nowhere: whoever calls has to stop before.
    """

    angles: type[Rotary] = Rotary
    slots: Tensor

    def __init__(self, upstream: Any, rotary: Rotary, slots: int) -> None:
        super().__init__()
        self.in_proj, self.out_proj, self.rotary = upstream.in_proj, upstream.out_proj, rotary
        self.heads, self.shared, self.size = upstream.num_heads, upstream.num_kv_heads, upstream.dim_per_head
        self.context = upstream.context
        self.register_buffer("slots", torch.arange(slots, dtype=torch.int32))

    def forward(self, x: Tensor, cache: Tensor, position: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Attends from x, (1, rows, width), whose first row is at `position`. Only the first `valid` rows are kept."""
        rows = int(x.shape[1])
        positions = position + torch.arange(rows, dtype=torch.int32)
        query, key, value = self.split(self.in_proj(x)[0])
        fresh = torch.stack([self.rotary(key, positions), value])[:, None]
        cache = self.written(cache, fresh, position, valid)
        seen = self.seen(positions, self.held(position, rows))
        return self.out_proj(self.attend(self.rotary(query, positions), cache, seen)), cache

    def split(self, projected: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (rows, heads, size)."""
        parts = torch.split(projected, [self.heads * self.size, self.shared * self.size, self.shared * self.size], -1)
        query, key, value = (torch.unflatten(part, -1, (-1, self.size)) for part in parts)
        return query, key, value

    def written(self, cache: Tensor, fresh: Tensor, position: Tensor, valid: Tensor | None) -> Tensor:
        """Return the cache with the fresh rows in their slots. Rows are selected, not added."""
        rows = int(fresh.shape[2])
        row = self.row(position)
        taken = (row >= 0) & (row < (rows if valid is None else valid))
        if rows > 1:
            fresh = fresh.index_select(2, torch.where(taken, row, torch.zeros_like(row)))
        return torch.where(taken[:, None, None], fresh, cache)

    def row(self, position: Tensor) -> Tensor:
        """Return the row that belongs in each slot, counted from `position`."""
        return self.slots - position

    def held(self, position: Tensor, rows: int) -> Tensor:
        """The position that each slot holds once `rows` are written; below zero where it holds none."""
        return self.slots

    def seen(self, positions: Tensor, held: Tensor) -> Tensor:
        """Return which slots each row may attend to, (rows, slots)."""
        behind = positions[:, None] - held
        seen = (held >= 0) & (behind >= 0)
        return seen if self.context is None else seen & (behind < self.context)

    def attend(self, query: Tensor, cache: Tensor, seen: Tensor) -> Tensor:
        # Query heads that share a key head lie side by side: one more axis is all that grouped queries take.
        query = torch.unflatten(query, 1, (self.shared, -1)).permute(1, 2, 0, 3)
        key, value = (self.clean(part).transpose(0, 1)[:, None] for part in (cache[0, 0], cache[1, 0]))
        scores = query @ key.transpose(-1, -2) * self.size**-0.5
        scores = torch.where(seen, scores, torch.full_like(scores, FORBIDDEN))
        return (scores.softmax(-1) @ value).permute(2, 0, 1, 3).flatten(1)[None]

    def clean(self, part: Tensor) -> Tensor:
        """Upstream's unwritten slots are NaN, and so may a host's be: weights of zero don't silence those."""
        return torch.where(torch.isnan(part), torch.zeros_like(part), part)


class RingAttention(Attention):
    """Attention over the last positions alone: position n lies in slot n % slots, whatever was there before."""

    def row(self, position: Tensor) -> Tensor:
        slots = len(self.slots)
        return torch.remainder(self.slots + slots - torch.remainder(position, slots), slots)

    def held(self, position: Tensor, rows: int) -> Tensor:
        slots, last = len(self.slots), position + (rows - 1)
        return last - torch.remainder(torch.remainder(last, slots) + slots - self.slots, slots)


class Block(nn.Module):
    """One layer of upstream's transformer."""

    def __init__(self, layer: Any, attention: Attention) -> None:
        super().__init__()
        self.layer, self.attention = layer, attention

    def forward(self, x: Tensor, cache: Tensor, position: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        update, cache = self.attention(self.layer.norm1(x), cache, position, valid)
        x = x + self.layer.layer_scale_1(update)
        hidden = F.gelu(self.layer.linear1(self.layer.norm2(x)), approximate="tanh")
        return x + self.layer.layer_scale_2(self.layer.linear2(hidden)), cache


class Transformer(nn.Module):
    """Upstream's transformer. Each layer has a cache and counts its own position."""

    def __init__(self, upstream: Any, attention: type[Attention], slots: int, positions: int) -> None:
        super().__init__()
        size = upstream.layers[0].self_attn.dim_per_head
        rotary = attention.angles(upstream.rope.max_period, size, positions)
        self.blocks = nn.ModuleList(
            Block(layer, attention(layer.self_attn, rotary, slots)) for layer in upstream.layers
        )

    def forward(
        self, x: Tensor, caches: tuple[Tensor, ...], positions: tuple[Tensor, ...], valid: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        written = []
        for block, cache, position in zip(self.blocks, caches, positions, strict=True):
            x, cache = block(x, cache, position, valid)
            written.append(cache)
        return x, tuple(written)
