"""Planted bugs of StyleTTS2: those of its ports' history."""

from __future__ import annotations

from typing import Any

from converters.styletts2.glue import Glue
from parity.declarations import Variant
from parity.plan.checks import SHIPS
from tests.faults import styletts2_host as host
from tests.faults import styletts2_mutants as mutants
from tests.faults.form import Fault, Plant
from tests.faults.planting import Converted, Host, module, variant
from tests.faults.styletts2_truths import small, sourced

HALF = Variant("fp16", "float16")
INT8 = Variant("int8", "float16", quantize=True)
PORT = "FluidInference/mobius#46"
UPSTREAM = "styletts2 0.1.6, its sampler"
REMAINDER, FIX = f"{PORT}; apple/coremltools#2836", f"{PORT}, its first fix"
INVERSE = "coremltools 9.0, its `inverse`"
FLOOR = "turns - torch.floor(turns)"
RE_CUT = f"{PORT}, a re-cut"
L2, GLUE = "relative_l2", "glue"


def fault(name: str, stage: str, plant: Plant, *caught_by: str, **more: Any) -> Fault:
    """In single precision and in small buckets, unless it says otherwise."""
    given = {"variant": "fp32", "system": "styletts2", "case": "yes", "needs": "styletts2", "truth": small, **more}
    return Fault(name, stage, plant, caught_by, **given)


def spoken(name: str, stage: str, glue: Glue, at: str, **more: Any) -> Fault:
    """In the host code: the first value that it makes wrong is the `at` of the stage."""
    owner = f"{stage}.{at} {GLUE}"
    return fault(name, stage, Host(glue), owner, variant=SHIPS, mode="chained", at=at, **more)


def surplus(name: str, glue: Glue, says: str, **more: Any) -> Fault:
    """In the host code, which does more than upstream: then it can't go on with upstream's values."""
    given = {"variant": SHIPS, "mode": "chained", "says": (says,), **more}
    return fault(name, "host", Host(glue), "host runs", **given)


SOURCE, TEXT, STEP, CURVES = "harmonic_source", "text_predictor", "diffusion_step", "f0n_energy"
DECODER = "decoder"
FAULTS = (
    fault(
        "x % 1 of the phase",
        SOURCE,
        module(mutants.Remainder),
        L2,
        "mel_correlation",
        "varies",
        source=REMAINDER,
        line=FLOOR,
    ),
    fault(
        "a modulus from a traced size",
        SOURCE,
        module(mutants.TracedSize),
        L2,
        "varies",
        source=FIX,
        line=FLOOR,
    ),
    fault(
        "interpolation with a singleton axis",
        SOURCE,
        module(mutants.Singleton),
        f"source {L2}",
        source=PORT,
        line="fine = F.interpolate(",
    ),
    fault("source in fp16", SOURCE, variant(HALF), f"source {L2}", "source phase_error", source=PORT, line="/ rate"),
    fault(
        "source noise baked at trace time",
        SOURCE,
        module(mutants.BakedNoise),
        f"source {L2}",
        source=RE_CUT,
        line="* source_noise",
    ),
    fault(
        "decoder in fp16",
        DECODER,
        variant(HALF),
        L2,
        "log_mel_distance",
        source=PORT,
        line="torch.sin(fine)",
        says=("float16 has steps of 16",),
    ),
    fault(
        "Snake by a cosine in fp16",
        DECODER,
        Converted(module(mutants.CosineSnake).change, HALF),
        L2,
        truth=sourced,
        source=RE_CUT,
        line="torch.sin(alpha * x) ** 2 / alpha",
    ),
    fault("a precision that nobody named", CURVES, variant(HALF), L2, source=PORT, line="(apart * scale) + shift"),
    fault(
        "int8 of heads of one row",
        CURVES,
        variant(INT8),
        f"F0 {L2}",
        variant="fp16",
        source="coremltools 9.0",
        line="block.conv1(block.pool(y)",
        says=("conv1.weight`: 8 bits",),
    ),
    fault(
        "one value of F0 for each frame",
        CURVES,
        module(mutants.Halved),
        "F0 shape",
        source=RE_CUT,
        line="self.F0_proj(f0)",
    ),
    fault("a deviation of the data of 0.5", STEP, module(mutants.WideData), L2, mode="module", line="scale * x_noisy"),
    fault("a deviation of the data of 0.5", STEP, module(mutants.WideData), L2, line="* self.sigma_data**2"),
    fault("a constant divided by a tensor", STEP, module(mutants.Divided), L2, source=INVERSE, line="self.skip(scale)"),
    fault(
        "zero padding that is heard",
        TEXT,
        module(mutants.Padded),
        f"d_en {L2}",
        source=PORT,
        line="last = ",
    ),
    fault("a tile whose repeats collapse", TEXT, module(mutants.Collapsed), "manifest", source=PORT),
    fault(
        "a tile whose repeats collapse",
        TEXT,
        module(mutants.Collapsed),
        "runs",
        mode="module",
        at="d",
        line="d[:, :, :",
        source=PORT,
    ),
    fault(
        "two buckets' packages exchanged",
        TEXT,
        mutants.OtherBucket((8, 16)),
        "manifest",
        says=("the package of the bucket of 16, in the place of that of 8",),
        source=PORT,
    ),
    spoken("swapped style halves", TEXT, host.Swapped(), "style", source="mobius 25c968d"),
    spoken("the voice's timbre for the prosody", TEXT, host.Unblended(), "style", source=PORT),
    spoken("a raw style for a blended one", TEXT, host.Raw(), "style", source=f"{PORT}, a vacuous pass of its check"),
    spoken("alpha and beta exchanged", TEXT, host.EXCHANGED, "style"),
    spoken("a sampler without its noise", STEP, host.Quiet(), "x_noisy", source=f"{PORT}; {UPSTREAM}", step=None),
    spoken("a geometric middle", STEP, host.Geometric(), "x_noisy", source=f"{PORT}; {UPSTREAM}"),
    surplus("steps on to a level of zero", host.ToZero(), "a 9th step, upstream made 8", source=f"{PORT}; {UPSTREAM}"),
    spoken("durations rounded down", "host", host.Floored(), "durations", source=f"{PORT}, its documents"),
    spoken("frames that are not shifted", CURVES, host.Unshifted(), "en", source="styletts2 0.1.6, hifigan"),
    surplus("the pulse at the end", host.UNTRIMMED, "the host decides 11400 rows of audio", source="styletts2 0.1.6"),
)
SOUND = (fault("the glue as it is", "chain", Host(Glue()), mode="chained", variant=SHIPS),)
