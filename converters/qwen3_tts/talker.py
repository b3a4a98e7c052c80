"""The language model: from text to rows of embeddings, and from a row to the scores of the next token."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from converters.qwen3_tts.attention import Transformer
from references.qwen3_tts.sizes import CODES, VOCABULARY, Size


class EncodeText(nn.Module):
    """Embeds the tokens of a text, in the talker's width."""

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        talker = upstream.model.talker
        self.embedding, self.projection = talker.get_text_embeddings(), talker.text_projection

    def forward(self, tokens: Tensor) -> Tensor:
        embeds: Tensor = self.projection(self.embedding(tokens))
        return embeds


class Talker(nn.Module):
    """One row: the scores of the next token, and what the code predictor goes on with."""

    transformer: type[Transformer] = Transformer

    def __init__(self, size: Size, upstream: Any, rows: int = 1) -> None:
        super().__init__()
        talker = upstream.model.talker
        self.model, self.head = self.transformer(talker.model, size.capacity, size.capacity + rows), talker.codec_head

    def forward(self, embeds: Tensor, position: Tensor, *caches: Tensor) -> tuple[Tensor, ...]:
        hidden, written = self.model(embeds, position, caches)
        return (self.head(hidden), hidden, *written)


class TalkerPrefill(Talker):
    """The prompt, at once: what its last valid row gives, and caches in which only its rows are written."""

    rows: Tensor

    def __init__(self, size: Size, upstream: Any, rows: int) -> None:
        super().__init__(size, upstream, rows)
        shared = size.talker.shared, size.talker.head
        self.register_buffer("empty", torch.zeros(2, 1, size.capacity, *shared))
        self.register_buffer("start", torch.zeros(1, dtype=torch.int32))

    def forward(self, embeds: Tensor, valid: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        empty = tuple(self.empty for _ in self.model.layers)
        hidden, written = self.model(embeds, self.start, empty, valid)
        last = hidden.index_select(1, self.last(valid))
        return (self.head(last), last, *written)

    def last(self, valid: Tensor) -> Tensor:
        return valid - 1


class CodecEmbed(nn.Module):
    """Looks up a code of any codebook in one table: that of the talker, then those of the other 15."""

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        talker = upstream.model.talker
        tables = [talker.get_input_embeddings(), *talker.code_predictor.get_input_embeddings()]
        self.table = nn.Embedding.from_pretrained(torch.cat([table.weight for table in tables]))  # type: ignore[no-untyped-call]

    def forward(self, token: Tensor, group: Tensor) -> Tensor:
        embed: Tensor = self.table(self.row(token, group))[None]
        return embed

    def row(self, token: Tensor, group: Tensor) -> Tensor:
        return token + group * CODES + (group > 0).to(torch.int32) * (VOCABULARY - CODES)
