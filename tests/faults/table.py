"""Which bug is planted where, and which gate has to catch it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from parity.declarations import Stage, Variant
from parity.verdict import Check, Mode
from tests.faults import mutants


@dataclass(frozen=True)
class Fault:
    """`plant` changes the stage that is converted; the check goes by the stage as it is declared.

    `caught_by` are gates that must break, `unseen_by` some that must not: that is why the others are there. `step` is
    the one that the blame has to name, of a stage that runs step by step, and `line` a part of the line of the source.
    """

    name: str
    stage: str
    variant: str
    plant: Callable[[Stage], Stage]
    caught_by: tuple[str, ...]
    unseen_by: tuple[str, ...] = ()
    mode: Mode = "forced"
    built_as: Variant | None = None
    system: str = "kokoro"
    case: str = "hello"
    step: int | None = None
    line: str = ""

    @property
    def check(self) -> Check:
        runtime, numerics = ("torch", "fp32") if self.mode == "module" else ("milrun", "declared")
        return Check(
            system=self.system,
            stage=self.stage,
            variant=self.variant,
            case=self.case,
            mode=self.mode,
            runtime=runtime,
            numerics=numerics,
        )


def module(mutant: Callable[[Any], Any]) -> Callable[[Stage], Stage]:
    return lambda stage: replace(stage, module=mutant)


def outputs(rename: Callable[[str], str | None]) -> Callable[[Stage], Stage]:
    """Renames outputs, or drops the ones that are renamed to None."""

    def plant(stage: Stage) -> Stage:
        names = {name: rename(name) for name in stage.outputs}
        kept = [position for position, name in enumerate(names) if names[name]]
        declared = {new: stage.outputs[name] for name, new in names.items() if new}
        return replace(stage, module=lambda upstream: _Some(stage.module(upstream), kept), outputs=declared)

    return plant


def swapped(one: str, other: str) -> Callable[[Stage], Stage]:
    """Gives two outputs under each other's names."""

    def plant(stage: Stage) -> Stage:
        names = list(stage.outputs)
        trade = {one: other, other: one}
        order = [names.index(trade.get(name, name)) for name in names]
        return replace(stage, module=lambda upstream: _Some(stage.module(upstream), order))

    return plant


class _Some(mutants.nn.Module):
    """Some of a module's outputs, in the order of `kept`."""

    def __init__(self, whole: Any, kept: list[int]) -> None:
        super().__init__()
        self.whole, self.kept = whole, kept

    def forward(self, *inputs: Any) -> tuple[Any, ...]:
        results = self.whole(*inputs)
        results = results if isinstance(results, tuple) else (results,)
        return tuple(results[position] for position in self.kept)


def same(stage: Stage) -> Stage:
    return stage


def fixed_shapes(stage: Stage) -> Stage:
    """Every dynamic dimension frozen at the size that was traced."""

    def frozen(tensor: Any) -> Any:
        return replace(tensor, shape=tensor.sizes(stage.trace_at))

    return replace(stage, inputs={name: frozen(tensor) for name, tensor in stage.inputs.items()})


HALF = Variant("fp16", "float16")
FOUR_BITS = Variant("fp16-pal4", "float16", palettize=4)

FAULTS = (
    Fault("noise stage in fp16", "noise", "fp32", same, ("relative_l2", "cosine"), built_as=HALF),
    Fault("x % 1 of the phase", "noise", "fp32", module(mutants.RemainderNoise), ("relative_l2",)),
    Fault("atan2 at π", "noise", "fp32", module(mutants.ArctangentNoise), ("relative_l2",)),
    Fault(
        "an STFT padded with zeros, in the traceable module",
        "noise_spectrum",
        "module",
        module(mutants.PaddedSpectrum),
        ("relative_l2",),
        mode="module",
    ),
    Fault("a style 1 % off", "noise_sources", "fp32", module(mutants.DeafSources), ("relative_l2",)),
    Fault("an STFT padded with zeros", "noise_spectrum", "fp32", module(mutants.PaddedSpectrum), ("relative_l2",)),
    Fault(
        "atan2 at π, on upstream's harmonics",
        "noise_spectrum",
        "fp32",
        module(mutants.ArctangentSpectrum),
        ("relative_l2",),
    ),
    Fault("source noise baked at trace time", "noise", "fp32", module(mutants.BakedNoise), ("relative_l2",)),
    Fault(
        "inverse STFT without window normalisation",
        "tail",
        "fp32",
        module(mutants.LoudTail),
        ("gain_db", "rms_ratio", "log_mel_distance"),
        unseen_by=("cosine", "mel_correlation"),
    ),
    Fault(
        "inverse STFT without window normalisation, in the traceable module",
        "tail",
        "module",
        module(mutants.LoudTail),
        ("gain_db", "rms_ratio"),
        unseen_by=("cosine",),
        mode="module",
    ),
    Fault("a gain of 1.05", "tail", "fp32", module(mutants.Louder), ("gain_db",), unseen_by=("cosine",)),
    Fault("a DC offset", "tail", "fp32", module(mutants.Lifted), ("dc_offset",)),
    Fault("an output of zeros", "tail", "fp32", module(mutants.Silent), ("varies",)),
    Fault("NaN in the last sample", "tail", "fp32", module(mutants.Poisoned), ("finite",)),
    Fault("one frame of shift", "prosody", "fp32", module(mutants.LatePitch), ("relative_l2",)),
    Fault("two outputs swapped", "prosody", "fp16", module(mutants.SwappedCurves), ("f0_correlation", "rms_ratio")),
    # With seeded weights `hello` has as many frames as stages are traced with.
    Fault("a frozen length", "prosody", "fp32", module(mutants.FrozenProsody), ("shape",), case="early_morning"),
    Fault("frozen dynamic dimensions", "prosody", "fp32", fixed_shapes, ("runs",), case="early_morning"),
    Fault("an input wired to nothing", "prosody", "fp32", module(mutants.Deaf), ("relative_l2",)),
    Fault("4-bit palettization", "prosody", "fp16-pal8", same, ("relative_l2",), built_as=FOUR_BITS),
    Fault(
        "a dropped output",
        "post_albert",
        "fp32",
        outputs(lambda name: None if name == "t_en" else name),
        ("present",),
    ),
    Fault(
        "a renamed output",
        "post_albert",
        "fp32",
        outputs(lambda name: "var_42" if name == "d" else name),
        ("present", "declared"),
    ),
)
