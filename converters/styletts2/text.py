"""Text encodings and durations."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from converters.styletts2.layers import Bidirectional, Span
from references.styletts2 import STYLE


class Bert(nn.Module):
    """The language model of phonemes."""

    def __init__(self, bert: Any) -> None:
        super().__init__()
        self.embeddings = bert.embeddings
        self.project = bert.encoder.embedding_hidden_mapping_in
        self.layer = bert.encoder.albert_layer_groups[0].albert_layers[0]
        self.depth = bert.config.num_hidden_layers
        self.heads = bert.config.num_attention_heads

    def forward(self, tokens: Tensor, span: Span) -> Tensor:
        of = self.embeddings
        x = of.word_embeddings(tokens) + of.token_type_embeddings.weight[0] + of.position_embeddings(span.position)
        x = self.project(of.LayerNorm(x))
        masked = (1.0 - span.mask)[:, None, None, :] * -1e4
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


class TextPredictor(nn.Module):
    """All that StyleTTS2 makes of a text: encodings by phonemes, by the language model and in a style; durations."""

    span: type[Span] = Span

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        self.bert = Bert(upstream["bert"])
        self.bert_encoder = upstream["bert_encoder"]
        self.positions = upstream["diffusion"].diffusion.net.fixed_embedding.embedding
        encoder, predictor = upstream["text_encoder"], upstream["predictor"]
        self.embedding, self.convolutions = encoder.embedding, encoder.cnn
        self.encoder_lstm = Bidirectional(encoder.lstm)
        self.layers = nn.ModuleList(
            Bidirectional(layer) if isinstance(layer, nn.LSTM) else layer for layer in predictor.text_encoder.lstms
        )
        self.duration_lstm = Bidirectional(predictor.lstm)
        self.duration_proj = predictor.duration_proj

    def forward(self, tokens: Tensor, style: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        span = self.span(tokens)
        bert_dur = self.bert(tokens, span)
        d_en = self.bert_encoder(bert_dur)
        d = self._styled(d_en, style, span)
        pred_dur_log = self.duration_proj(self.duration_lstm(d, span))
        return (
            self._encoded(tokens, span),
            d_en.transpose(1, 2),
            d,
            pred_dur_log,
            self.positions(span.position),
            bert_dur,
        )

    def _styled(self, d_en: Tensor, style: Tensor, span: Span) -> Tensor:
        valid = span.mask[:, :, None]
        every = style[:, None, :].expand(1, d_en.shape[1], STYLE)
        d = torch.cat([d_en, every], -1) * valid
        for layer in self.layers:
            d = layer(d, span) if isinstance(layer, Bidirectional) else torch.cat([layer(d, style), every], -1) * valid
        return d

    def _encoded(self, tokens: Tensor, span: Span) -> Tensor:
        valid = span.mask[:, None, :]
        x = self.embedding(tokens).transpose(1, 2) * valid
        for layer in self.convolutions:
            x = layer(x) * valid
        return self.encoder_lstm(x.transpose(1, 2), span).transpose(1, 2) * valid
