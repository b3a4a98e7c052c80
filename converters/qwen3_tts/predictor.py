"""The code predictor: the other 15 codes of a frame, call by call or all in one graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from converters.qwen3_tts.attention import Place, Transformer
from converters.qwen3_tts.talker import CodecEmbed
from references.qwen3_tts.sizes import GROUPS, TOP_K

GREEDY = 0.01
"""Temperature below which the likeliest code is taken."""
NEAR = 0.03
"""The distance that a code may have from its share of the uniforms in the module: kernels that round an activation the
other way let neighbours among the 50 best change places, of which each has about 0.02."""
Choose = Callable[[int, Tensor], tuple[Tensor, Tensor]]
"""Returns the code of a number by its scores, and the code to go on with."""


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


class Turn(nn.Module):
    """A row of a frame at its known place. No backend takes the lookups of angles, mask and head that it spares."""

    cosine: Tensor
    sine: Tensor
    hidden: Tensor
    written: Tensor
    group: Tensor
    head: Tensor

    def __init__(self, model: Transformer, group: int, head: Tensor) -> None:
        super().__init__()
        self.register_buffer("group", torch.tensor([group], dtype=torch.int32))
        self.register_buffer("head", head.detach())
        for name, value in model.place(self.group, 1)._asdict().items():
            self.register_buffer(name, value)

    @property
    def place(self) -> Place:
        return Place(self.cosine, self.sine, self.hidden, self.written)


class CodeGenerator(nn.Module):
    """A whole frame in one graph: the code predictor, its heads, the sampling, and the sum of all embeddings."""

    empty: Tensor
    turns: Any

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        self.predictor, self.embed = CodePredictor(upstream), CodecEmbed(upstream)
        model, heads = self.predictor.model, CodeHead(upstream).heads
        attention: Any = model.layers[0].attention
        self.register_buffer("empty", torch.zeros(2, 1, GROUPS, attention.keys, attention.size))
        self.first = Turn(model, 0, heads[0, :0])
        self.turns = nn.ModuleList(Turn(model, group, heads[group - 1]) for group in range(1, GROUPS))

    def forward(self, hidden: Tensor, embed: Tensor, temperature: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
        draws = torch.split(uniforms, 1)

        def choose(number: int, scores: Tensor) -> tuple[Tensor, Tensor]:
            code = self.sampled(scores, temperature, draws[number])
            return code, code

        return self.frame(hidden, embed, choose)

    def frame(self, hidden: Tensor, embed: Tensor, choose: Choose) -> tuple[Tensor, Tensor]:
        """Return the codes of a frame, and the sum of the embeddings of those that it went on with."""
        caches = tuple(self.empty for _ in self.predictor.model.layers)
        _, caches = self.predicted(self.first, hidden, caches)
        row, total, codes = embed, embed, []
        for number, turn in enumerate(self.turns):
            found, caches = self.predicted(turn, row, caches)
            code, following = choose(number, F.linear(found[:, 0], turn.head))
            codes.append(code)
            row = self.embed(following, turn.group)
            total = total + row
        return torch.cat(codes).to(torch.int32), total

    def predicted(self, turn: Any, row: Tensor, caches: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        return self.predictor.model.at(turn.place, self.predictor.projection(row), caches)

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


class CodeReplay(CodeGenerator):
    """A whole frame after the codes that another graph chose: the code that comes next, and the sum of embeddings."""

    def forward(self, *given: Tensor) -> tuple[Tensor, Tensor]:
        hidden, embed, temperature, uniforms, codes, _ = given

        def choose(number: int, scores: Tensor) -> tuple[Tensor, Tensor]:
            draw, own = uniforms[number : number + 1], codes[number : number + 1]
            near = self.near(scores, temperature, draw, own)
            return own.long() if near else self.sampled(scores, temperature, draw), own

        return self.frame(hidden, embed, choose)

    def near(self, scores: Tensor, temperature: Tensor, uniform: Tensor, code: Tensor) -> bool:
        """Return whether a sampled code is the one that the uniform falls on, or off by no more than rounding."""
        best, ids = torch.topk(scores, TOP_K)
        chances = torch.softmax(best / torch.clamp(temperature, min=GREEDY), -1)
        ends = chances.cumsum(-1)
        falls = (uniform >= ends - chances - NEAR) & (uniform < ends + NEAR) & (ids == code)
        return bool(temperature >= GREEDY) and bool(falls.any())
