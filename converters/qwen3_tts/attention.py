"""Attention of the talker and of the code predictor over caches of a fixed number of slots, whole in and whole out."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
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
        half = x.shape[-1] // 2
        return torch.cat([-x[..., half:], x[..., :half]], -1)


def merged(*layers: Any) -> nn.Linear:
    """Return one linear layer that gives the outputs of several, one behind the other."""
    weights, biases = [layer.weight for layer in layers], [layer.bias for layer in layers if layer.bias is not None]
    rows, columns = sum(len(weight) for weight in weights), weights[0].shape[1]
    made = nn.Linear(columns, rows, bias=bool(biases))
    made.weight = nn.Parameter(torch.cat(weights).detach(), requires_grad=False)
    if biases:
        made.bias = nn.Parameter(torch.cat(biases).detach(), requires_grad=False)
    return made


class Norm(nn.Module):
    """Upstream's RMS norm. The mean over one axis is a product with a row, which XNNPACK takes whole.

    `others` are norms of heads that lie behind those of the first; with them, `heads` says how many each has.
    """

    mean: Tensor
    epsilon: Tensor

    def __init__(self, upstream: Any, *others: Any, heads: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.weight, size = upstream.weight, upstream.weight.numel()
        if others:
            rows = [norm.weight.expand(count, -1) for norm, count in zip((upstream, *others), heads, strict=True)]
            self.weight = nn.Parameter(torch.cat(rows).detach(), requires_grad=False)
        self.register_buffer("mean", torch.full((1, size), 1 / size))
        self.register_buffer("epsilon", torch.tensor([upstream.variance_epsilon]))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(F.linear(x * x, self.mean, self.epsilon)) * self.weight


class Attention(nn.Module):
    """Upstream's attention. Query heads that share a key head lie side by side.

    XNNPACK takes slices, reshapes, transpositions, sums and products, and neither selections nor conditions: the graph
    leaves the backend and comes back at each of those.
    """

    def __init__(self, upstream: Any, rotary: Rotary) -> None:
        super().__init__()
        self.rotary, self.output = rotary, upstream.o_proj
        self.inputs = merged(upstream.q_proj, upstream.k_proj, upstream.v_proj)
        self.size, self.groups = upstream.head_dim, upstream.num_key_value_groups
        self.keys = upstream.k_proj.out_features // self.size
        self.queries = self.keys * self.groups
        self.norm = Norm(upstream.q_norm, upstream.k_norm, heads=(self.queries, self.keys))

    def projected(self, x: Tensor, angles: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the queries of x, (1, rows, width), by head, and its keys and values, (2, 1, rows, heads, size)."""
        rows = int(x.shape[1])
        heads = self.inputs(x).reshape(1, rows, -1, self.size)
        turned = self.rotary.turned(self.norm(heads[:, :, : self.queries + self.keys]), angles)
        query, key, value = turned[:, :, : self.queries], turned[:, :, self.queries :], heads[:, :, -self.keys :]
        return query, torch.cat([key, value]).reshape(2, 1, rows, self.keys, self.size)

    def attend(self, query: Tensor, cache: Tensor, hidden: Tensor) -> Tensor:
        """Return what queries find in a cache. `hidden` is added to the scores: `FORBIDDEN` for unseen slots."""
        query, slots = self.shared(query), int(cache.shape[2])
        key, value = (cache[side : side + 1].reshape(slots, self.keys, self.size).transpose(0, 1) for side in (0, 1))
        scores = torch.bmm(query, key.transpose(1, 2)) * self.size**-0.5 + hidden
        output: Tensor = self.output(self.joined(torch.bmm(scores.softmax(-1), value)))
        return output

    def shared(self, query: Tensor) -> Tensor:
        """Return queries, (1, rows, heads, size), by the key heads that they share: (key heads, queries, size)."""
        return query.transpose(1, 2).reshape(self.keys, -1, self.size)

    def joined(self, found: Tensor) -> Tensor:
        heads = found.reshape(1, self.queries, -1, self.size)
        return heads.transpose(1, 2).reshape(1, -1, self.queries * self.size)


class Gated(nn.Module):
    """Upstream's gated layers. The gate and what it lets through are one product."""

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        self.inputs = merged(upstream.gate_proj, upstream.up_proj)
        self.activation, self.output = upstream.act_fn, upstream.down_proj

    def forward(self, x: Tensor) -> Tensor:
        both = self.inputs(x)
        half = both.shape[-1] // 2
        found: Tensor = self.output(self.activation(both[..., :half]) * both[..., half:])
        return found


class Layer(nn.Module):
    """One layer of upstream's transformer. How keys and values are kept is its caller's matter."""

    def __init__(self, upstream: Any, attention: Attention) -> None:
        super().__init__()
        self.attention, self.mlp = attention, Gated(upstream.mlp)
        self.before, self.between = Norm(upstream.input_layernorm), Norm(upstream.post_attention_layernorm)

    def projected(self, x: Tensor, angles: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return self.attention.projected(self.before(x), angles)

    def finished(self, x: Tensor, query: Tensor, cache: Tensor, hidden: Tensor) -> Tensor:
        x = x + self.attention.attend(query, cache, hidden)
        return x + self.mlp(self.between(x))


class Place(NamedTuple):
    """Places of rows in the caches.

    Attributes:
        cosine: The cosines of their angles.
        sine: The sines.
        hidden: Values that are added to the scores of each slot, to hide those to come.
        written: 1 for each slot that a row goes into, 0 for the others.
        source: The row that goes into each slot; None for a single row.
    """

    cosine: Tensor
    sine: Tensor
    hidden: Tensor
    written: Tensor
    source: Tensor | None = None


class Transformer(nn.Module):
    """Upstream's transformer, where slot n of each cache, (2, 1, slots, heads, size), holds position n.

    Slots behind the last position may hold any finite number: they are not seen.
    """

    slots: Tensor
    attention: type[Attention] = Attention
    angles: type[Rotary] = Rotary

    def __init__(self, upstream: Any, slots: int, positions: int) -> None:
        super().__init__()
        self.norm, self.rotary = Norm(upstream.norm), self.angles(upstream.rotary_emb, positions)
        attentions = [self.attention(layer.self_attn, self.rotary) for layer in upstream.layers]
        self.layers = nn.ModuleList(map(Layer, upstream.layers, attentions))
        self.groups = attentions[0].groups
        self.register_buffer("slots", torch.arange(slots, dtype=torch.int32))

    def forward(
        self, x: Tensor, position: Tensor, caches: tuple[Tensor, ...], valid: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return what x, (1, rows, width), becomes, and the caches with its first `valid` rows from `position` on."""
        return self.at(self.place(position, int(x.shape[1]), valid), x, caches)

    def place(self, position: Tensor, rows: int, valid: Tensor | None = None) -> Place:
        """Return all that depends on where rows lie, and not on what they hold."""
        positions = position + torch.arange(rows, dtype=torch.int32)
        row = self.row(position)
        taken = (row >= 0) & (row < (rows if valid is None else valid))
        source = torch.where(taken, row, torch.zeros_like(row)) if rows > 1 else None
        return Place(
            *self.rotary.at(positions), self.hidden(positions, self.slots), taken.float()[:, None, None], source
        )

    def at(self, place: Place, x: Tensor, caches: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return what x becomes at a place, and the caches with its rows."""
        kept = 1 - place.written
        written = []
        for layer, cache in zip(self.layers, caches, strict=True):
            query, fresh = layer.projected(x, (place.cosine, place.sine))  # type: ignore[operator]
            if place.source is not None:
                fresh = fresh.index_select(2, place.source)
            cache = cache * kept + fresh * place.written
            x = layer.finished(x, query, cache, place.hidden)  # type: ignore[operator]
            written.append(cache)
        return self.norm(x), tuple(written)

    def hidden(self, positions: Tensor, slots: Tensor) -> Tensor:
        """Return what is added to the scores of slots, (queries of a key head, slots), to hide those to come."""
        return ((slots > positions[:, None]).float() * FORBIDDEN).repeat(self.groups, 1)

    def row(self, position: Tensor) -> Tensor:
        """Return the row that belongs in each slot, counted from `position`."""
        return self.slots - position
