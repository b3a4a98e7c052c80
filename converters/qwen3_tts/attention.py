"""Attention of the talker and of the code predictor over caches of a fixed number of slots, whole in and whole out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

FORBIDDEN = -1e4
"""The score of a key that must not be seen: its weight is exactly zero, and half precision can hold it."""


class Rotary(nn.Module):
    """Rotary embeddings of halves, with upstream's angles looked up by position.

    Upstream's talker has three positions for each row, in interleaved sections of the frequencies. For speech all three
    are the same, and the sections fall together.
    """

    cosine: Tensor
    sine: Tensor

    def __init__(self, upstream: Any, positions: int) -> None:
        super().__init__()
        angles = torch.arange(positions, dtype=torch.float32)[:, None] * self.frequencies(upstream)
        both = torch.cat([angles, angles], -1)
        self.register_buffer("cosine", (both.cos() * upstream.attention_scaling)[:, None])
        self.register_buffer("sine", (both.sin() * upstream.attention_scaling)[:, None])

    def frequencies(self, upstream: Any) -> Tensor:
        found: Tensor = upstream.inv_freq.float()
        return found

    def at(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return the cosines and sines of some positions, each (rows, 1, size)."""
        return self.cosine.index_select(0, positions), self.sine.index_select(0, positions)

    def turned(self, x: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
        """Return x, (rows, heads, size), each row turned by its angles."""
        cosine, sine = angles
        return x * cosine + self.crossed(x) * sine

    def crossed(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, -1)
        return torch.cat([-second, first], -1)


class Attention(nn.Module):
    """Upstream's attention. Query heads that share a key head lie side by side."""

    def __init__(self, upstream: Any, rotary: Rotary) -> None:
        super().__init__()
        self.upstream, self.rotary = upstream, rotary
        self.size, self.groups = upstream.head_dim, upstream.num_key_value_groups

    def projected(self, x: Tensor, angles: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the queries of x, (1, rows, width), and its keys and values in one, (2, 1, rows, heads, size)."""
        query, key, value = (
            torch.unflatten(part(x)[0], -1, (-1, self.size))
            for part in (self.upstream.q_proj, self.upstream.k_proj, self.upstream.v_proj)
        )
        query, key = self.upstream.q_norm(query), self.upstream.k_norm(key)
        key, query = self.rotary.turned(key, angles), self.rotary.turned(query, angles)
        return query, torch.stack([key, value])[:, None]

    def attend(self, query: Tensor, cache: Tensor, seen: Tensor) -> Tensor:
        query = self.shared(query)
        key, value = (cache[side, 0].transpose(0, 1)[:, None] for side in (0, 1))
        scores = query @ key.transpose(-1, -2) * self.size**-0.5
        scores = torch.where(seen, scores, torch.full_like(scores, FORBIDDEN))
        output: Tensor = self.upstream.o_proj(self.joined(scores.softmax(-1) @ value))
        return output

    def shared(self, query: Tensor) -> Tensor:
        """Return queries, (rows, heads, size), by the key heads that they share: (key heads, queries, rows, size)."""
        return torch.unflatten(query, 1, (-1, self.groups)).permute(1, 2, 0, 3)

    def joined(self, found: Tensor) -> Tensor:
        return found.permute(2, 0, 1, 3).flatten(1)[None]


class Layer(nn.Module):
    """One layer of upstream's transformer. How keys and values are kept is its caller's matter."""

    def __init__(self, upstream: Any, attention: Attention) -> None:
        super().__init__()
        self.upstream, self.attention = upstream, attention

    def projected(self, x: Tensor, angles: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return self.attention.projected(self.upstream.input_layernorm(x), angles)

    def finished(self, x: Tensor, query: Tensor, cache: Tensor, seen: Tensor) -> Tensor:
        x = x + self.attention.attend(query, cache, seen)
        return x + self.upstream.mlp(self.upstream.post_attention_layernorm(x))


class Transformer(nn.Module):
    """Upstream's transformer, where slot n of each cache, (2, 1, slots, heads, size), holds position n.

    Slots behind the last position may hold anything: they are not seen.
    """

    slots: Tensor
    attention: type[Attention] = Attention
    angles: type[Rotary] = Rotary

    def __init__(self, upstream: Any, slots: int, positions: int) -> None:
        super().__init__()
        self.norm, self.rotary = upstream.norm, self.angles(upstream.rotary_emb, positions)
        self.layers = nn.ModuleList(
            Layer(layer, self.attention(layer.self_attn, self.rotary)) for layer in upstream.layers
        )
        self.register_buffer("slots", torch.arange(slots, dtype=torch.int32))

    def forward(
        self, x: Tensor, position: Tensor, caches: tuple[Tensor, ...], valid: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return what x, (1, rows, width), becomes, and the caches with its first `valid` rows from `position` on."""
        rows = int(x.shape[1])
        positions = position + torch.arange(rows, dtype=torch.int32)
        angles = self.rotary.at(positions)
        row = self.row(position)
        taken = (row >= 0) & (row < (rows if valid is None else valid))
        seen = self.slots <= positions[:, None]
        written = []
        for layer, cache in zip(self.layers, caches, strict=True):
            query, fresh = layer.projected(x, angles)  # type: ignore[operator]
            if rows > 1:
                fresh = fresh.index_select(2, torch.where(taken, row, torch.zeros_like(row)))
            cache = torch.where(taken[:, None, None], fresh, cache)
            x = layer.finished(x, query, cache, seen)  # type: ignore[operator]
            written.append(cache)
        return self.norm(x), tuple(written)

    def row(self, position: Tensor) -> Tensor:
        """Return the row that belongs in each slot, counted from `position`."""
        return self.slots - position
