"""Kokoro's converters and glue with the bugs of their history, one each, and with those that any converter may get."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from converters.kokoro.glue import speak
from converters.kokoro.noise import F0_HOP, HARMONICS, Noise, NoiseSources, NoiseSpectrum, angle_of
from converters.kokoro.prosody import Prosody
from converters.kokoro.stages import TRACE_AT
from converters.kokoro.text import Alignment
from converters.kokoro.vocoder import Tail
from parity.declarations import Arrays, Case, Run
from references.kokoro import STYLE


class RemainderNoise(Noise):
    """`x % 1`, which coremltools 9.0 turns into zeros."""

    def _harmonics(self, F0_curve: Tensor, source_noise: Tensor) -> Tensor:
        turns = F0_curve[:, None] * self.harmonic / torch.full_like(F0_curve[:, None], self.sines.sampling_rate)
        phase = torch.cumsum(turns % 1, 2) * 2 * torch.pi
        phase = F.interpolate(phase * F0_HOP, scale_factor=float(F0_HOP), mode="linear")
        voiced = F.interpolate((F0_curve[:, None] > self.sines.voiced_threshold).float(), scale_factor=float(F0_HOP))
        voiced = voiced.transpose(1, 2)
        amplitude = voiced * self.sines.noise_std + (1 - voiced) * self.sines.sine_amp / 3
        return torch.sin(phase).transpose(1, 2) * self.sines.sine_amp * voiced + amplitude * source_noise


class ArctangentNoise(Noise):
    """`torch.atan2`, which coremltools 9.0 decomposes so that the angle of (0, negative) is 0 instead of π."""

    def spectrum(self, merged: Tensor) -> Tensor:
        x = F.pad(merged.transpose(1, 2), (self.fft // 2, self.fft // 2), mode="reflect")
        real_part = F.conv1d(x, self.real_kernel, stride=self.hop)
        imaginary = F.conv1d(x, self.imaginary_kernel, stride=self.hop)
        return torch.cat([torch.sqrt(real_part**2 + imaginary**2), torch.atan2(imaginary, real_part)], 1)


class PaddedNoise(Noise):
    """An STFT padded with zeros where upstream reflects. It moves both sources by less than a jump of one angle."""

    def spectrum(self, merged: Tensor) -> Tensor:
        x = F.pad(merged.transpose(1, 2), (self.fft // 2, self.fft // 2))
        real_part = F.conv1d(x, self.real_kernel, stride=self.hop)
        imaginary = F.conv1d(x, self.imaginary_kernel, stride=self.hop)
        return torch.cat([torch.sqrt(real_part**2 + imaginary**2), angle_of(imaginary, real_part)], 1)


class PaddedSpectrum(NoiseSpectrum):
    """The spectrum within that stage."""

    part: type[Noise] = PaddedNoise

    def __init__(self, upstream: Any) -> None:
        super().__init__(upstream)
        self.noise = self.part(upstream)


class ArctangentSpectrum(PaddedSpectrum):
    part = ArctangentNoise


class DeafSources(NoiseSources):
    """The rear of the noise stage under a style that is one hundredth off."""

    def forward(self, spectrum: Tensor, style_timbre: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(spectrum, style_timbre * 1.01)


class BakedNoise(Noise):
    """One draw, made while tracing, for every sample of every utterance."""

    def __init__(self, upstream: Any) -> None:
        super().__init__(upstream)
        self.register_buffer("draw", torch.randn(1, 1, HARMONICS, generator=torch.Generator().manual_seed(0)))

    def _harmonics(self, F0_curve: Tensor, source_noise: Tensor) -> Tensor:
        return super()._harmonics(F0_curve, source_noise * 0 + self.draw)


class LoudTail(Tail):
    """The inverse STFT without its window normalisation: 1.5 times too loud, and no correlation sees it."""

    def forward(self, x_pre: Tensor) -> Tensor:
        audio = super().forward(x_pre)
        return audio * 1.5


class LongAlignment(Alignment):
    """Wide enough for more than 2048 frames, and exact there."""

    def __init__(self, upstream: Any) -> None:
        super().__init__(upstream)
        self.frame = torch.arange(4096, dtype=torch.int32)[None, None]


class FloatAlignment(LongAlignment):
    """Frame numbers as floats: in half precision they are exact only up to 2048."""

    def forward(self, pred_dur: Tensor, d: Tensor, t_en: Tensor) -> tuple[Tensor, Tensor]:
        total = pred_dur.sum().to(torch.int32)
        lasts = pred_dur.float()
        ends = torch.cumsum(lasts, 1)
        frame = self.frame.float()
        inside = (frame >= (ends - lasts)[:, :, None]) & (frame < ends[:, :, None])
        path = inside[:, :, :total].to(d.dtype)
        return d.transpose(1, 2) @ path, t_en @ path


def tail(change: Callable[[Tensor], Tensor]) -> type[Tail]:
    """Return the tail with its audio changed."""

    class Changed(Tail):
        def forward(self, x_pre: Tensor) -> Tensor:
            return change(super().forward(x_pre))

    return Changed


def poisoned(audio: Tensor) -> Tensor:
    return torch.cat([audio[:-1], audio[-1:] * 0 / (audio[-1:] * 0)])


class LatePitch(Prosody):
    """One frame of shift."""

    def forward(self, en: Tensor, style_s: Tensor) -> tuple[Tensor, Tensor]:
        f0, n = super().forward(en, style_s)
        return torch.cat([f0[:, :1], f0[:, :-1]], 1), n


class SwappedCurves(Prosody):
    """Pitch where loudness should be."""

    def forward(self, en: Tensor, style_s: Tensor) -> tuple[Tensor, Tensor]:
        f0, n = super().forward(en, style_s)
        return n, f0


class FrozenProsody(Prosody):
    """Whatever the length, as many frames as it was traced with."""

    def forward(self, en: Tensor, style_s: Tensor) -> tuple[Tensor, Tensor]:
        f0, n = super().forward(en, style_s)
        traced = 2 * TRACE_AT["frames"]
        return F.pad(f0, (0, traced))[:, :traced], F.pad(n, (0, traced))[:, :traced]


class Deaf(nn.Module):
    """The pitch of a constant style: an input that is wired to nothing."""

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        self.whole = Prosody(upstream)

    def forward(self, en: Tensor, style_s: Tensor) -> tuple[Tensor, Tensor]:
        f0, n = self.whole(en, style_s * 0)
        return f0, n


@dataclass
class Rewired:
    """The `Run` that a mutant of the glue puts between the real glue and the harness."""

    run: Run

    def __getattr__(self, name: str) -> Any:
        return getattr(self.run, name)

    def __call__(self, stage: str, inputs: Arrays) -> Mapping[str, np.ndarray]:
        return self.run(stage, inputs)


class HalfUp(Rewired):
    """Swift's `.rounded()`: a half away from zero, where upstream rounds it to even."""

    durations = np.zeros(0)

    def __call__(self, stage: str, inputs: Arrays) -> Mapping[str, np.ndarray]:
        results = self.run(stage, inputs)
        self.durations = results.get("duration", self.durations)
        return results

    def decide(self, stage: str, name: str, value: np.ndarray) -> np.ndarray:
        return self.run.decide(stage, name, np.maximum(np.floor(self.durations + 0.5), 1).astype(np.int32))


class ShortOfAStage(Rewired):
    """Leaves out the last stage."""

    def __call__(self, stage: str, inputs: Arrays) -> Mapping[str, np.ndarray]:
        return {"audio": np.zeros(1, np.float32)} if stage == "tail" else self.run(stage, inputs)


def half_up(run: Run, case: Case) -> None:
    speak(HalfUp(run), case)


def swapped_style(run: Run, case: Case) -> None:
    """Give timbre where the prosody half of the style belongs, and the other way round."""
    style = case.inputs["ref_s"]
    swapped = np.concatenate([style[:, STYLE:], style[:, :STYLE]], 1)
    speak(run, replace(case, inputs={**case.inputs, "ref_s": swapped}))


def short_of_a_stage(run: Run, case: Case) -> None:
    speak(ShortOfAStage(run), case)
