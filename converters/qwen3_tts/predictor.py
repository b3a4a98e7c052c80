"""The code predictor: the other 15 codes of a frame, call by call or all in one graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan

from converters.qwen3_tts.attention import Transformer
from converters.qwen3_tts.talker import CodecEmbed
from references.qwen3_tts.sizes import GROUPS, TOP_K

GREEDY = 0.01
"""Temperature below which the likeliest code is taken."""

Step = Callable[[tuple[Tensor, ...], tuple[Tensor, ...]], tuple[tuple[Tensor, ...], Tensor]]


def each(step: Step, carried: tuple[Tensor, ...], given: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], Tensor]:
    """Return what a step carries on after the last value, and what it gave for each.

    `torch.export` keeps the loop, so that a program holds its body once: lowering takes time for each node. Core ML
    gets one step behind the other.
    """
    if torch.compiler.is_exporting():
        kept: tuple[tuple[Tensor, ...], Tensor] = scan(step, carried, given)
        return kept
    made = []
    for number in range(len(given[0])):
        carried, found = step(carried, tuple(values[number] for values in given))
        made.append(found)
    return carried, torch.stack(made)


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

    groups: Tensor
    empty: Tensor
    first: Tensor

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        self.predictor, self.head, self.embed = CodePredictor(upstream), CodeHead(upstream), CodecEmbed(upstream)
        attention: Any = self.predictor.model.layers[0].attention
        self.register_buffer("empty", torch.zeros(2, 1, GROUPS, attention.keys, attention.size))
        self.register_buffer("first", torch.zeros(1, dtype=torch.int32))
        self.register_buffer("groups", torch.arange(1, GROUPS, dtype=torch.int32))

    def forward(self, hidden: Tensor, embed: Tensor, temperature: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
        def step(carried: tuple[Tensor, ...], given: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], Tensor]:
            row, total, *caches = carried
            group, uniform = given[0].reshape(1), given[1].reshape(1)
            found, *caches = self.predictor(row, group, *caches)
            code = self.sampled(self.head(found[:, 0], group), temperature, uniform)
            row = self.embed(code, group)
            return (row, total + row, *caches), code.to(torch.int32)

        _, *caches = self.predictor(hidden, self.first, *(self.empty for _ in self.predictor.model.layers))
        (_, total, *_), codes = each(step, (embed, embed.clone(), *caches), (self.groups, uniforms))
        return codes.reshape(-1), total

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
