"""From packed embeddings to who speaks: the conformer, a transformer on it, and a sigmoid for each speaker."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from converters.sortformer.encoder import FORBIDDEN, Conformer
from converters.sortformer.frontend import PreEncoder
from converters.sortformer.layers import State, depth, layer_norm, linear


class Attention(nn.Module):
    def __init__(self, state: State, name: str, heads: int) -> None:
        super().__init__()
        self.query, self.key = linear(state, f"{name}.query_net"), linear(state, f"{name}.key_net")
        self.value, self.out = linear(state, f"{name}.value_net"), linear(state, f"{name}.out_projection")
        self.heads, self.size = heads, self.query.out_features // heads

    def forward(self, x: Tensor, unseen: Tensor) -> Tensor:
        query, key, value = (self.split(part) for part in (self.query(x), self.key(x), self.value(x)))
        scores = (query * self.size**-0.5) @ key.transpose(-1, -2)
        return self.out(((scores + unseen).softmax(-1) @ value).transpose(1, 2).flatten(2))

    def split(self, x: Tensor) -> Tensor:
        return torch.unflatten(x, -1, (self.heads, self.size)).transpose(1, 2)


class TransformerLayer(nn.Module):
    """Norms come behind what they follow; there is none at the very end of the layers."""

    def __init__(self, state: State, name: str, heads: int) -> None:
        super().__init__()
        self.attention = Attention(state, f"{name}.first_sub_layer", heads)
        self.norm_attention = layer_norm(state, f"{name}.layer_norm_1")
        self.inner = linear(state, f"{name}.second_sub_layer.dense_in")
        self.outer = linear(state, f"{name}.second_sub_layer.dense_out")
        self.norm_out = layer_norm(state, f"{name}.layer_norm_2")

    def forward(self, x: Tensor, unseen: Tensor) -> Tensor:
        x = self.norm_attention(x + self.attention(x, unseen))
        return self.norm_out(x + self.outer(F.relu(self.inner(x))))


class Head(nn.Module):
    """Classifier of who speaks in each of `frames` packed rows; nobody speaks in an invalid row.

    The chunk's embeddings and their number come out again, for the host to keep. They pass through ops that do
    something: a Core ML input that is an output as well crashes, and the converter removes ops that do nothing.
    """

    positions: Tensor

    def __init__(self, upstream: Any, frames: int) -> None:
        super().__init__()
        state: State = upstream.state
        name = "transformer_encoder.layers"
        self.conformer = Conformer(state, frames)
        self.projection = linear(state, "sortformer_modules.encoder_proj")
        self.layers = nn.ModuleList(
            TransformerLayer(state, f"{name}.{i}", upstream.sizes.transformer_heads) for i in range(depth(state, name))
        )
        self.hidden = linear(state, "sortformer_modules.first_hidden_to_hidden")
        self.speakers = linear(state, "sortformer_modules.single_hidden_to_spks")
        self.register_buffer("positions", torch.arange(frames, dtype=torch.int32))

    def forward(
        self,
        pre_encoder_embs: Tensor,
        pre_encoder_lengths: Tensor,
        chunk_pre_encoder_embs: Tensor,
        chunk_pre_encoder_lengths: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        valid = (self.positions < pre_encoder_lengths).to(pre_encoder_embs.dtype)
        unseen = (1 - valid) * FORBIDDEN
        x = self.projection(self.conformer(pre_encoder_embs, valid, unseen))
        for layer in self.layers:
            x = layer(x, unseen)
        speaker_preds = torch.sigmoid(self.speakers(F.relu(self.hidden(F.relu(x))))) * valid[:, None]
        rows = int(chunk_pre_encoder_embs.shape[1])
        kept = (self.positions[:rows] < chunk_pre_encoder_lengths).to(chunk_pre_encoder_embs.dtype)
        lengths = torch.clamp(chunk_pre_encoder_lengths, 0, rows)
        return speaker_preds, chunk_pre_encoder_embs * kept[:, None], lengths


class Pipeline(nn.Module):
    """Both in one graph: what goes into the pre-encoder, and what comes out of the head."""

    def __init__(self, upstream: Any, streaming: Any) -> None:
        super().__init__()
        self.pre_encoder = PreEncoder(upstream, streaming)
        self.head = Head(upstream, self.pre_encoder.rows)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found: tuple[Tensor, Tensor, Tensor] = self.head(*self.pre_encoder(*inputs))
        return found
