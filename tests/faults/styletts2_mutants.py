"""StyleTTS2's converters with the bugs of their history, one each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from converters.styletts2 import layers
from converters.styletts2.diffusion import DiffusionStep
from converters.styletts2.prosody import F0NEnergy
from converters.styletts2.text import TextPredictor
from converters.styletts2.vocoder import F0_HOP, Decoder, HarmonicSource
from parity.declarations import Stage, Variant
from parity.judge.workbench import Workbench
from references.styletts2 import STYLE
from tests.faults.form import Fault
from tests.faults.planting import Others


class Phase(HarmonicSource):
    """The harmonic source in pieces, of which each mutant changes one."""

    def forward(self, F0_curve: Tensor, source_noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rate = torch.full_like(F0_curve[:, None], self.sines.sampling_rate)
        turns = self.wrapped(F0_curve[:, None] * self.harmonic / rate)
        phase = torch.cumsum(turns, 2)
        fine = self.finer(phase * 2 * torch.pi * F0_HOP)
        voiced = F.interpolate((F0_curve[:, None] > self.sines.voiced_threshold).float(), scale_factor=float(F0_HOP))
        voiced = voiced.transpose(1, 2)
        amplitude = voiced * self.sines.noise_std + (1 - voiced) * self.sines.sine_amp / 3
        sines = torch.sin(fine).transpose(1, 2) * self.sines.sine_amp * voiced + amplitude * source_noise
        merged = torch.tanh(self.merge(sines))
        return turns.transpose(1, 2), phase.transpose(1, 2), merged.reshape(-1)

    def wrapped(self, turns: Tensor) -> Tensor:
        return turns - torch.floor(turns)

    def finer(self, phase: Tensor) -> Tensor:
        return F.interpolate(phase, scale_factor=float(F0_HOP), mode="linear")


class Remainder(Phase):
    """`x % 1`, which coremltools 9.0 turns into zeros."""

    def wrapped(self, turns: Tensor) -> Tensor:
        return turns % 1


class TracedSize(Phase):
    """A modulus made from a traced size: the batch, which is a constant 1 in the graph, so that the zeros are back."""

    def wrapped(self, turns: Tensor) -> Tensor:
        return turns % turns.shape[0]


class Singleton(Phase):
    """Both changes of rate by interpolation along the only axis that has a length, its corners aligned."""

    def finer(self, phase: Tensor) -> Tensor:
        samples = F.interpolate(phase, scale_factor=float(F0_HOP))
        coarse = F.interpolate(samples, scale_factor=1 / F0_HOP, mode="linear", align_corners=True)
        return F.interpolate(coarse, scale_factor=float(F0_HOP), mode="linear", align_corners=True)


class BakedNoise(HarmonicSource):
    """One draw, made while tracing, for every sample of every passage."""

    def __init__(self, upstream: Any) -> None:
        super().__init__(upstream)
        self.register_buffer("draw", torch.randn(1, 1, 9, generator=torch.Generator().manual_seed(0)))

    def forward(self, F0_curve: Tensor, source_noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return super().forward(F0_curve, source_noise * 0 + self.draw)


class Sourced(Decoder):
    """The decoder behind its harmonic source, which is an input."""

    def forward(self, asr: Tensor, F0_curve: Tensor, N: Tensor, s: Tensor, source: Tensor) -> Tensor:
        frames = layers.Frames(layers.Span(layers.filled(asr, 1)).mask)
        finer = frames.finer(2)
        x = self._decoded(asr, F0_curve, N, s, frames, finer)
        return self._generated(x * finer.mask, source.reshape(1, 1, -1), s, finer)


def cosine(x: Tensor, alpha: Tensor) -> Tensor:
    return x + (1 - torch.cos(2 * alpha * x)) / (2 * alpha)


class CosineSnake(Sourced):
    """The square of the sine written as half of 1 - cos: in half precision, the difference of two numbers near 1."""

    activation = staticmethod(cosine)


class WideData(DiffusionStep):
    """The deviation of the data that the sampler's authors had, 0.5, for StyleTTS2's 0.2."""

    def __init__(self, upstream: Any) -> None:
        super().__init__(upstream)
        self.sigma_data = 0.5


class Divided(DiffusionStep):
    """A constant divided by a tensor, as upstream has it: the converter adds 0.0001 to the tensor."""

    def skip(self, scale: Tensor) -> Tensor:
        return self.sigma_data**2 / scale**-2


class Halved(F0NEnergy):
    """One value for each frame, where there are two."""

    def forward(self, en: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        f0, n = super().forward(en, s)
        return f0[:, ::2], n[:, ::2]


class Everywhere(layers.Span):
    """Takes the padding for text."""

    def __init__(self, filled: Tensor) -> None:
        super().__init__(filled * 0 + 1)


class Padded(TextPredictor):
    """A graph of a fixed size that does not know where the text ends."""

    span = Everywhere


class Collapsed(TextPredictor):
    """A style whose repeats along the text came to nothing: d has 512 columns."""

    def forward(self, tokens: Tensor, style: Tensor) -> tuple[Tensor, ...]:
        t_en, d_en, d, *others = super().forward(tokens, style)
        return t_en, d_en, d[:, :, : d.shape[2] - STYLE], *others


@dataclass(frozen=True)
class OtherBucket:
    """Puts the package of another bucket in the place of the one that is asked for."""

    buckets: tuple[int, int]
    where: str = field(default="package", init=False)

    def __call__(self, clean: Workbench, fault: Fault, folder: Path) -> Workbench:
        known: Any = clean.artifacts
        other = dict(zip(self.buckets, reversed(self.buckets), strict=True))

        def made(stage: Stage, variant: Variant) -> Path:
            whole = clean.system.stage(stage.name)
            return known.get(whole.at(other[stage.bucket or 0]), variant).package

        return replace(clean, artifacts=Others(known, fault, made))
