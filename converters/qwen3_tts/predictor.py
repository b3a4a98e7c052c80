"""The code predictor: the other 15 codes of a frame, call by call or all in one graph."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from converters.qwen3_tts.attention import Transformer
from references.qwen3_tts.sizes import GROUPS, TOP_K

GREEDY = 0.01
"""Temperature below which the likeliest code is taken."""


class CodePredictor(nn.Module):
    """One row of a frame. Row n lies at position n: what the talker gave, then a code each."""

    transformer: type[Transformer] = Transformer

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        predictor = upstream.model.talker.code_predictor
        self.projection = predictor.small_to_mtp_projection
        self.model = self.transformer(predictor.model, GROUPS, GROUPS)

    def forward(self, embeds: Tensor, position: Tensor, *caches: Tensor) -> tuple[Tensor, ...]:
        hidden, written = self.model(self.projection(embeds), position, caches)
        return (hidden, *written)


class CodeHead(nn.Module):
    """Scores the codes of one codebook; each has a head of its own."""

    heads: Tensor

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        heads = [head.weight for head in upstream.model.talker.code_predictor.lm_head]
        self.register_buffer("heads", torch.stack(heads).detach())

    def forward(self, hidden: Tensor, group: Tensor) -> Tensor:
        head = self.heads.index_select(0, group - 1)[0]
        return hidden @ head.transpose(0, 1)


class CodeGenerator(nn.Module):
    """A whole frame in one graph: the code predictor, its heads, the sampling, and the sum of all embeddings."""

    transformer: type[Transformer] = Transformer

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        predictor = upstream.model.talker.code_predictor
        self.model = self.transformer(predictor.model, GROUPS, GROUPS)
        self.projection = predictor.small_to_mtp_projection
        self.heads, self.tables = predictor.lm_head, predictor.get_input_embeddings()

    def forward(self, hidden: Tensor, embed: Tensor, temperature: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
        codes, total = [], embed
        kept: list[Tensor] = []
        rows, first = torch.cat([hidden, embed], 1), 0
        for group in range(1, GROUPS):
            found, kept = self.advanced(self.projection(rows), first, kept)
            first += int(rows.shape[1])
            scores = self.heads[group - 1](found[0, -1:])
            code = self.sampled(scores, temperature, uniforms[group - 1 : group])
            rows = self.tables[group - 1](code)[None]
            codes.append(code)
            total = total + rows
        return torch.cat(codes).to(torch.int32), total

    def advanced(self, x: Tensor, first: int, kept: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Return what rows from `first` on become, and the keys and values of all rows so far, by layer."""
        rows = int(x.shape[1])
        angles = self.model.rotary.cosine[first : first + rows], self.model.rotary.sine[first : first + rows]
        hidden = self.model.hidden(self.model.slots[first : first + rows], self.model.slots[: first + rows])
        caches = []
        for number, layer in enumerate(self.model.layers):
            query, fresh = layer.projected(x, angles)  # type: ignore[operator]
            cache = torch.cat([kept[number], fresh], 2) if kept else fresh
            x = layer.finished(x, query, cache, hidden)  # type: ignore[operator]
            caches.append(cache)
        return self.model.norm(x), caches

    def sampled(self, scores: Tensor, temperature: Tensor, uniform: Tensor) -> Tensor:
        """Return a code, (1,): the first of the likeliest at which their chances add up to more than the uniform."""
        best, ids = torch.topk(scores, TOP_K)
        summed = torch.softmax(best / torch.clamp(temperature, min=GREEDY), -1).cumsum(-1)
        at = self.place(summed, uniform)
        at = torch.where(temperature < GREEDY, torch.zeros_like(at), at)
        return ids.gather(1, at[:, None])[0]

    def place(self, summed: Tensor, uniform: Tensor) -> Tensor:
        """Return how many sums do not exceed the uniform. The last sum never counts: it may fall short of one."""
        return (summed[:, : TOP_K - 1] <= uniform).to(torch.int32).sum(-1)
