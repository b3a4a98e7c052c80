"""From tokens to frames: the text model, durations with the encodings of the text, and their alignment."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from parity.declarations import Dim
from references.kokoro import STYLE

TOKENS = Dim("tokens", 2, 512)
FRAMES = Dim("frames", 2, 2000)
"""Two tokens, the padding at both ends, last a frame each. Upstream refuses one frame: it normalizes over time."""


class Albert(nn.Module):
    """The text model. Batch 1 has no padding, so the mask that upstream builds from it is all ones."""

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        bert = upstream.bert
        self.embeddings = bert.embeddings
        self.project = bert.encoder.embedding_hidden_mapping_in
        self.layer = bert.encoder.albert_layer_groups[0].albert_layers[0]
        self.depth = bert.config.num_hidden_layers
        self.heads = bert.config.num_attention_heads

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        masked = (1.0 - attention_mask.float())[:, None, None, :] * -1e4
        x = self.project(self.embeddings(input_ids))
        for _ in range(self.depth):
            x = self._block(x, masked)
        return x

    def _block(self, x: Tensor, masked: Tensor) -> Tensor:
        attention = self.layer.attention
        query, key, value = (self._split(part(x)) for part in (attention.query, attention.key, attention.value))
        scores = query @ key.transpose(-1, -2) * attention.attention_head_size**-0.5 + masked
        context = (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)
        x = attention.LayerNorm(x + attention.dense(context))
        hidden = self.layer.ffn_output(self.layer.activation(self.layer.ffn(x)))
        return self.layer.full_layer_layer_norm(hidden + x)

    def _split(self, x: Tensor) -> Tensor:
        return x.view(1, x.shape[1], self.heads, -1).transpose(1, 2)


class PostAlbert(nn.Module):
    """Durations and the two text encodings. One sequence has no padding: nothing is packed and nothing masked."""

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        self.bert_encoder = upstream.bert_encoder
        self.predictor = upstream.predictor
        self.text_encoder = upstream.text_encoder

    def forward(
        self, bert_dur: Tensor, input_ids: Tensor, style_s: Tensor, speed: Tensor, attention_mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        valid = attention_mask.to(bert_dur.dtype)[:, :, None]
        style = style_s[:, None, :].expand(1, bert_dur.shape[1], STYLE)
        d = torch.cat([self.bert_encoder(bert_dur), style], -1) * valid
        for block in self.predictor.text_encoder.lstms:
            if isinstance(block, nn.LSTM):
                d = block(d)[0]
            else:
                d = torch.cat([block(d, style_s), style], -1) * valid
        logits = self.predictor.duration_proj(self.predictor.lstm(d)[0])
        duration = torch.sigmoid(logits).sum(-1) / speed
        return duration, d, self._text(input_ids, valid.transpose(1, 2))

    def _text(self, input_ids: Tensor, valid: Tensor) -> Tensor:
        x = self.text_encoder.embedding(input_ids).transpose(1, 2) * valid
        for layer in self.text_encoder.cnn:
            x = layer(x) * valid
        return self.text_encoder.lstm(x.transpose(1, 2))[0].transpose(1, 2) * valid


class Alignment(nn.Module):
    """Repeats each token's columns for as many frames as it lasts, as a product with a 0/1 matrix of FRAMES' width.

    The frame numbers stay int32: in fp16 they would be exact only up to 2048.
    """

    frame: Tensor

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        self.register_buffer("frame", torch.arange(FRAMES.high, dtype=torch.int32)[None, None])

    def forward(self, pred_dur: Tensor, d: Tensor, t_en: Tensor) -> tuple[Tensor, Tensor]:
        ends = torch.cumsum(pred_dur, 1).to(torch.int32)
        total = ends[0, -1]
        starts = ends - pred_dur
        inside = (self.frame >= starts[:, :, None]) & (self.frame < ends[:, :, None])
        path = inside[:, :, :total].to(d.dtype)
        return d.transpose(1, 2) @ path, t_en @ path
