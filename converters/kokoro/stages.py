"""Kokoro in seven Core ML graphs, and two within the noise stage: what goes in and out of each, and its variants."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from converters.kokoro.noise import HARMONICS, SAMPLES_PER_FRAME, Noise, NoiseSources, NoiseSpectrum
from converters.kokoro.prosody import Prosody
from converters.kokoro.text import FRAMES, TOKENS, Albert, Alignment, PostAlbert
from converters.kokoro.vocoder import Tail, Vocoder
from parity.declarations import Arrays, Stage, Variant, f32, i32, real
from references.kokoro import STYLE

BINS = 11
NO_PADDING = {"attention_mask": "the app runs one passage at a time, so that nothing is padded and all are ones"}
ONE_VOICE = "seeded weights have one voice; trained ones take another row of theirs for each length of a passage"
SPEED = "every passage is recorded at speed 1; other speeds are only compared with the module"
FP32 = Variant("fp32", "float32")
FP16 = Variant("fp16", "float16")
FP16_PAL8 = Variant("fp16-pal8", "float16", palettize=8, ships=True)
TRACE_AT = {"tokens": 16, "frames": 40}
NOISE_VARIANTS = (FP32, Variant("fp32-pal8", "float32", palettize=8, ships=True))
SOURCES = {"x_source_0": f32(1, 256, 20 * FRAMES), "x_source_1": f32(1, 128, 120 * FRAMES + 1)}


def lasting(inputs: Arrays, sizes: Mapping[str, int]) -> Arrays:
    """Durations that add up to the frames."""
    ends = np.linspace(0, sizes["frames"], sizes["tokens"] + 1).round().astype(np.int32)
    return {"pred_dur": np.diff(ends)[None]}


STAGES = (
    Stage(
        "albert",
        Albert,
        inputs={"input_ids": i32(1, TOKENS), "attention_mask": i32(1, TOKENS)},
        outputs={"bert_dur": real(1, TOKENS, 768)},
        variants=(FP32, FP16, FP16_PAL8),
        trace_at=TRACE_AT,
        compute_units="CPU_AND_NE",
        fixed=NO_PADDING,
    ),
    Stage(
        "post_albert",
        PostAlbert,
        inputs={
            "bert_dur": real(1, TOKENS, 768),
            "input_ids": i32(1, TOKENS),
            "style_s": real(1, STYLE),
            "speed": real(1),
            "attention_mask": i32(1, TOKENS),
        },
        outputs={
            "duration": real(1, TOKENS, kind="durations"),
            "d": real(1, TOKENS, 640),
            "t_en": real(1, 512, TOKENS),
        },
        variants=(FP32, FP16, FP16_PAL8),
        trace_at=TRACE_AT,
        compute_units="CPU_AND_NE",
        fixed={**NO_PADDING, "style_s": ONE_VOICE, "speed": SPEED},
    ),
    Stage(
        "alignment",
        Alignment,
        inputs={"pred_dur": i32(1, TOKENS, kind="durations"), "d": real(1, TOKENS, 640), "t_en": real(1, 512, TOKENS)},
        outputs={"en": real(1, 640, FRAMES), "asr": real(1, 512, FRAMES)},
        variants=(FP32, Variant("fp16", "float16", ships=True)),
        trace_at=TRACE_AT,
        compute_units="CPU_AND_NE",
        resize=lasting,
    ),
    Stage(
        "prosody",
        Prosody,
        inputs={"en": real(1, 640, FRAMES), "style_s": real(1, STYLE)},
        outputs={"F0": real(1, 2 * FRAMES, kind="pitch"), "N": real(1, 2 * FRAMES)},
        variants=(FP32, FP16, FP16_PAL8),
        trace_at=TRACE_AT,
        compute_units="CPU_AND_NE",
        fixed={"style_s": ONE_VOICE},
    ),
    Stage(
        "noise",
        Noise,
        inputs={
            "F0_curve": f32(1, 2 * FRAMES),
            "style_timbre": f32(1, STYLE),
            "source_noise": f32(1, SAMPLES_PER_FRAME * FRAMES, HARMONICS),
        },
        outputs=SOURCES,
        variants=NOISE_VARIANTS,
        trace_at=TRACE_AT,
        fixed={"style_timbre": ONE_VOICE},
    ),
    Stage(
        "vocoder",
        Vocoder,
        inputs={
            "asr": real(1, 512, FRAMES),
            "F0_curve": real(1, 2 * FRAMES),
            "N_pred": real(1, 2 * FRAMES),
            "x_source_0": real(1, 256, 20 * FRAMES),
            "x_source_1": real(1, 128, 120 * FRAMES + 1),
            "style_timbre": real(1, STYLE),
        },
        outputs={"anchor": real(1), "x_pre": real(1, 128, 120 * FRAMES + 1)},
        variants=(FP32, FP16, FP16_PAL8),
        trace_at=TRACE_AT,
        compute_units="CPU_AND_NE",
        fixed={"style_timbre": ONE_VOICE},
    ),
    Stage(
        "tail",
        Tail,
        inputs={"x_pre": f32(1, 128, 120 * FRAMES + 1)},
        outputs={"audio": f32(SAMPLES_PER_FRAME * FRAMES, kind="audio")},
        variants=(Variant("fp32", "float32", ships=True),),
        trace_at=TRACE_AT,
    ),
)

INNER = (
    Stage(
        "noise_spectrum",
        NoiseSpectrum,
        inputs={"merged": f32(1, SAMPLES_PER_FRAME * FRAMES, 1)},
        outputs={"real_part": f32(1, BINS, 120 * FRAMES + 1), "imaginary": f32(1, BINS, 120 * FRAMES + 1)},
        variants=(Variant("fp32", "float32", ships=True),),
        trace_at=TRACE_AT,
        within="noise",
    ),
    Stage(
        "noise_sources",
        NoiseSources,
        inputs={"spectrum": f32(1, 2 * BINS, 120 * FRAMES + 1), "style_timbre": f32(1, STYLE)},
        outputs=SOURCES,
        variants=NOISE_VARIANTS,
        trace_at=TRACE_AT,
        within="noise",
    ),
)
