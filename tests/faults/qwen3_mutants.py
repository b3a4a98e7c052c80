"""Qwen3-TTS with one bug each: its graphs, its sampling, its host code."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from converters.qwen3_tts.attention import Attention, Rotary, Transformer
from converters.qwen3_tts.glue import Glue
from converters.qwen3_tts.predictor import CodeGenerator
from converters.qwen3_tts.sampling import Sampling
from converters.qwen3_tts.talker import CodecEmbed, Talker, TalkerPrefill
from parity.declarations import Arrays, Case, Run
from references.qwen3_tts.record import PROMPT
from references.qwen3_tts.sizes import CODES, SMALL, SUPPRESSED, VOCABULARY


class OtherTheta(Rotary):
    """Frequencies of the configuration's default."""

    def frequencies(self, upstream: Any) -> Tensor:
        size = upstream.inv_freq.numel()
        return torch.tensor(10_000.0) ** (-torch.arange(size) / size)


class SectionsInARow(Rotary):
    """The frequencies of the three sections one after another, not interleaved."""

    def frequencies(self, upstream: Any) -> Tensor:
        found = super().frequencies(upstream)
        return torch.cat([found[first::3] for first in range(3)])


class Pairs(Rotary):
    """Turns neighbours where upstream turns halves."""

    def crossed(self, x: Tensor) -> Tensor:
        first, second = x[..., 0::2], x[..., 1::2]
        return torch.stack([-second, first], -1).flatten(-2)


class OtherHeads(Attention):
    """The key heads over and over, not each for neighbouring query heads."""

    def shared(self, query: Tensor) -> Tensor:
        rows = query.transpose(1, 2).reshape(self.groups, self.keys, -1, self.size)
        return rows.transpose(0, 1).reshape(self.keys, -1, self.size)

    def joined(self, found: Tensor) -> Tensor:
        rows = found.reshape(self.keys, self.groups, -1, self.size).permute(2, 1, 0, 3)
        return rows.reshape(1, -1, self.keys * self.groups * self.size)


class Late(Transformer):
    """Keys and values one slot late."""

    def row(self, position: Tensor) -> Tensor:
        return super().row(position) - 1


class ThetaTransformer(Transformer):
    angles = OtherTheta


class ThetaTalker(Talker):
    transformer = ThetaTransformer


class SectionsTransformer(Transformer):
    angles = SectionsInARow


class SectionsTalker(Talker):
    transformer = SectionsTransformer


class PairedTransformer(Transformer):
    angles = Pairs


class PairedTalker(Talker):
    transformer = PairedTransformer


class HeadedTransformer(Transformer):
    attention = OtherHeads


class HeadedTalker(Talker):
    transformer = HeadedTransformer


class LateTalker(Talker):
    transformer = Late


def talking(mutant: type[Talker]) -> Any:
    return partial(mutant, SMALL)


FINE = 16
"""Steps in a unit: 8 bits that reach up to 8."""


def dropped(upstream: Any) -> Any:
    """Return the talker as it is where loading passed over a tensor: the last norm keeps the ones it began with."""
    talker = Talker(SMALL, upstream)
    talker.model.norm = deepcopy(talker.model.norm)
    torch.nn.init.ones_(talker.model.norm.weight)  # type: ignore[arg-type]
    return talker


def other_scales(module: Any) -> None:
    """Give each group of int4 weights the scale of the group above it."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            scale: Any = part.weight.scale
            scale.copy_(scale.roll(1, 0))


def fixed_activations(module: Any) -> None:
    """Round what each layer of int4 weights is given to steps that a calibration once found, before it is quantized."""
    for name, part in list(module.named_modules()):
        if isinstance(part, nn.Linear):
            module.set_submodule(name, FixedSteps(part))


class FixedSteps(nn.Module):
    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, x: Tensor) -> Any:
        return self.part(torch.round(x * FINE).clamp(-128, 127) / FINE)


def other_halves(module: Any) -> None:
    """Pack two values of a table in the other order."""
    packed = module.embedding.packed
    packed.copy_(packed >> 4 | packed << 4)


class First(TalkerPrefill):
    """Goes on with the first row."""

    def last(self, valid: Tensor) -> Tensor:
        return valid * 0


class SlicedTwice(TalkerPrefill):
    """Takes the last row of what has lost its last row."""

    def last(self, valid: Tensor) -> Tensor:
        return valid - 2


class Leaking(TalkerPrefill):
    """Writes the padding too."""

    def forward(self, embeds: Tensor, valid: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        return (*super().forward(embeds, valid)[:2], *super().forward(embeds, torch.full_like(valid, PROMPT))[2:])


def prefilling(mutant: type[TalkerPrefill]) -> Any:
    return partial(mutant, SMALL, rows=PROMPT)


class OffByABook(CodecEmbed):
    def row(self, token: Tensor, group: Tensor) -> Tensor:
        return super().row(token, group) - (group > 0).to(torch.int32) * CODES


class OneBook(CodecEmbed):
    """The second codebook for all that follow."""

    def row(self, token: Tensor, group: Tensor) -> Tensor:
        return token + (group > 0).to(torch.int32) * VOCABULARY


class ShortSum(CodeGenerator):
    """The first place whose sum exceeds the uniform; where none does, that is place 0."""

    def place(self, summed: Tensor, uniform: Tensor) -> Tensor:
        return (summed > uniform).to(torch.int32).argmax(-1)


class GreedyOnly(CodeGenerator):
    def place(self, summed: Tensor, uniform: Tensor) -> Tensor:
        return super().place(summed, uniform) * 0


def likeliest(module: Any) -> None:
    """Let a graph take the likeliest of the best codes, whatever the uniform."""
    module.place = lambda summed, uniform: (summed[:, 0] * 0).long()


class ShortHostSum(Sampling):
    """The first place whose sum exceeds the uniform; where none does, that is place 0."""

    def place(self, summed: np.ndarray, uniform: float) -> int:
        return int((summed > uniform).argmax())


class NeverEnding(Sampling):
    """Suppresses EOS with the rest."""

    def allowed(self, scores: np.ndarray, made: int) -> np.ndarray:
        return np.where(np.arange(len(scores)) >= SUPPRESSED, np.float32(-np.inf), scores)


class WithoutSuppression(Sampling):
    """Lets ids through that are not codes."""

    def allowed(self, scores: np.ndarray, made: int) -> np.ndarray:
        return scores


@dataclass(frozen=True)
class Choosing(Glue):
    """Another way to choose ids."""

    other: type[Sampling] = Sampling

    def sampling(self, case: Case) -> Sampling:
        return self.other(super().sampling(case).temperature)


class SharedGenerator(Glue):
    """Uniforms from a generator that another utterance has drawn from before."""

    def uniform(self, uniforms: np.ndarray, frame: int, group: int) -> float:
        return super().uniform(uniforms, frame + 1, group)


class Skipping(Glue):
    """Speaks without the first word of the text."""

    def word(self, text: np.ndarray, frame: int) -> np.ndarray:
        return super().word(text, frame + 1)


class Whole(Glue):
    """Decodes all frames at once."""

    def chunks(self, codes: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
        yield codes, 0


class WithoutContext(Glue):
    """Decodes each chunk as if nothing came before it."""

    def chunks(self, codes: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
        for chunk, context in super().chunks(codes):
            yield chunk[context:], 0


class Overfilled(Glue):
    """Fills codes up to 1,200 frames."""

    def filled_up(self, codes: np.ndarray) -> np.ndarray:
        return np.pad(codes, ((0, 1200 - len(codes)), (0, 0)))[None]


class Trimming(Glue):
    """Cuts the quiet end off the audio. A time that is measured on what is left is that of another audio."""

    def decode(self, run: Run, codes: np.ndarray) -> None:
        super().decode(_Trimmed(run), codes)


@dataclass(frozen=True)
class _Trimmed:
    run: Run

    @property
    def tables(self) -> Arrays:
        return self.run.tables

    def __call__(self, stage: str, inputs: Arrays) -> Arrays:
        return self.run(stage, inputs)

    def decide(self, stage: str, name: str, value: np.ndarray) -> np.ndarray:
        loud = np.flatnonzero(np.abs(value) > np.abs(value).max() / 2)
        return self.run.decide(stage, name, value[: loud[-1] + 1] if name == "audio" else value)


class PerOccurrence(Sampling):
    """Penalizes an id as often as it came."""

    def penalized(self, scores: np.ndarray, tokens: list[int]) -> np.ndarray:
        for token in tokens:
            scores = super().penalized(scores, [token])
        return scores


class OtherIds(Glue):
    """Tags of the codec by the ids of the class's defaults, which lie 2,048 above."""

    def tags(self, case: Case) -> list[int]:
        return [min(tag + CODES, VOCABULARY - 1) for tag in super().tags(case)]


class Clamping(Glue):
    """Has 0 for every id of the upper half of a codebook, as a clamp has that takes them for invalid."""

    def filled_up(self, codes: np.ndarray) -> np.ndarray:
        return super().filled_up(np.where(codes >= CODES // 2, 0, codes))
