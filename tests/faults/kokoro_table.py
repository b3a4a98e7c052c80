"""Planted bugs of Kokoro: those of its port's history, and those that any port may get."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from converters.kokoro.glue import speak
from converters.kokoro.text import Alignment
from parity.declarations import Stage, Variant
from parity.plan.checks import SHIPS
from tests.faults import kokoro_mutants as mutants
from tests.faults.form import Fault, Heard, Plant
from tests.faults.kokoro_mutants import poisoned, tail
from tests.faults.kokoro_truths import long, tied
from tests.faults.planting import Converted, Host, module, renamed, variant

HALF = Variant("fp16", "float16")
FOUR_BITS = Variant("fp16-pal4", "float16", palettize=4)
PORT = "laishere/kokoro-coreml"
ATAN2 = "coremltools 9.0, c6dbc42d; FluidAudio#569, mobius#50"
LOUD = f"{PORT}, shipped; FluidAudio#699, mobius#83"
RE_CUT = "StyleTTS2 port, a re-cut"
FP16 = f"{PORT}, its README"


def fault(name: str, stage: str, plant: Plant, *caught_by: str, **more: Any) -> Fault:
    """In single precision, unless it says otherwise."""
    given = {"variant": "fp32", "system": "kokoro", "case": "hello", **more}
    return Fault(name, stage, plant, caught_by, **given)


def fixed_shapes(stage: Stage) -> Stage:
    """Every dynamic dimension frozen at the size that was traced."""

    def frozen(tensor: Any) -> Any:
        return replace(tensor, shape=tensor.sizes(stage.trace_at))

    return replace(stage, inputs={name: frozen(tensor) for name, tensor in stage.inputs.items()})


def heard(name: str, stage: str, plant: Plant, *caught_by: str, **more: Any) -> Heard:
    given = {"variant": SHIPS, "system": "kokoro", "case": "all", "mode": "chained", **more}
    return Heard(name, stage, plant, caught_by, **given)


def alignment(name: str, mutant: type[Alignment], frames: int, *caught_by: str, **more: Any) -> Fault:
    return fault(name, "alignment", module(mutant), *caught_by, variant="fp16", truth=long(frames), **more)


NOISE, SPECTRUM, TAIL, PROSODY, L2 = "noise", "noise_spectrum", "tail", "prosody", "relative_l2"
FAULTS = (
    fault("noise stage in fp16", NOISE, variant(HALF), L2, "cosine", source=FP16),
    fault("x % 1 of the phase", NOISE, module(mutants.RemainderNoise), L2, source="apple/coremltools#2836"),
    fault(
        "atan2 at π",
        NOISE,
        module(mutants.ArctangentNoise),
        L2,
        "envelope_distance",
        "max_relative",
        source=ATAN2,
    ),
    fault("an STFT padded with zeros", SPECTRUM, module(mutants.PaddedSpectrum), L2, mode="module"),
    fault("an STFT padded with zeros", SPECTRUM, module(mutants.PaddedSpectrum), L2),
    fault("a style 1 % off", "noise_sources", module(mutants.DeafSources), L2),
    fault("atan2 at π, on upstream's harmonics", SPECTRUM, module(mutants.ArctangentSpectrum), L2, source=ATAN2),
    fault("source noise baked at trace time", NOISE, module(mutants.BakedNoise), L2, source=RE_CUT),
    fault(
        "inverse STFT without window normalisation",
        TAIL,
        module(mutants.LoudTail),
        "gain_db",
        "rms_ratio",
        "log_mel_distance",
        "high_band_power",
        unseen_by=("cosine", "mel_correlation"),
        source=LOUD,
    ),
    fault(
        "inverse STFT without window normalisation",
        TAIL,
        module(mutants.LoudTail),
        "gain_db",
        "rms_ratio",
        unseen_by=("cosine",),
        mode="module",
        source=LOUD,
    ),
    fault("a gain of 1.05", TAIL, module(tail(lambda audio: audio * 1.05)), "gain_db", unseen_by=("cosine",)),
    fault("a DC offset", TAIL, module(tail(lambda audio: audio + 0.01)), "dc_offset"),
    fault("an output of zeros", TAIL, module(tail(lambda audio: audio * 0)), "varies"),
    fault("NaN in the last sample", TAIL, module(tail(poisoned)), "finite"),
    fault("one frame of shift", PROSODY, module(mutants.LatePitch), L2, "voicing_agreement"),
    fault("two outputs swapped", PROSODY, module(mutants.SwappedCurves), "f0_correlation", "rms_ratio", variant="fp16"),
    # With seeded weights `hello` has as many frames as stages are traced with.
    fault("a frozen length", PROSODY, module(mutants.FrozenProsody), "shape", case="early_morning"),
    fault("frozen dynamic dimensions", PROSODY, Converted(fixed_shapes), "runs", case="early_morning"),
    fault("an input wired to nothing", PROSODY, module(mutants.Deaf), L2),
    fault("4-bit palettization", PROSODY, variant(FOUR_BITS), L2, variant="fp16-pal8"),
    fault("a dropped output", "post_albert", renamed("t_en", None), "present"),
    fault(
        "a renamed output",
        "post_albert",
        renamed("d", "var_42"),
        "present",
        "declared",
        source="coremltools 9.0, names of unnamed outputs",
    ),
    alignment("frames counted in half precision", mutants.FloatAlignment, 2100, L2, source=f"{PORT}, shipped"),
    fault(
        "rounding half up",
        "alignment",
        Host(mutants.half_up),
        "alignment.pred_dur frames_equal",
        mode="chained",
        truth=tied,
        source="Kokoro port, Swift's rounded()",
    ),
    fault(
        "swapped style halves",
        "post_albert",
        Host(mutants.swapped_style),
        "post_albert.style_s glue",
        mode="chained",
        source="StyleTTS2 port, mobius 25c968d",
    ),
    fault("a stage left out of the chain", TAIL, Host(mutants.short_of_a_stage), "tail.audio present", mode="chained"),
    heard(
        "noise stage in fp16",
        NOISE,
        variant(HALF),
        "speaker similarity",
        "recording similarity",
        "naturalness",
        source=FP16,
    ),
    # One hiss sounds like another: that the noise is frozen, no ear tells from palettization.
    heard("one draw of noise", NOISE, module(mutants.BakedNoise), source=RE_CUT),
    heard("vocoder in 4 bits", "vocoder", variant(FOUR_BITS), "speaker similarity", "recording similarity"),
)
SOUND = (
    *(alignment(f"{n} frames in int32", mutants.LongAlignment, n) for n in (2047, 2048, 2049, 2100, 3333)),
    alignment("2048 frames in half precision", mutants.FloatAlignment, 2048),
    fault("the glue as it is", "chain", Host(speak), mode="chained"),
    fault("durations between two frame counts", "chain", Host(speak), mode="chained", truth=tied),
)
