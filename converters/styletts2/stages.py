"""The graphs, as FluidInference/mobius ships them, with the noise of the source as an input."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from converters.styletts2.diffusion import DiffusionStep
from converters.styletts2.glue import SAMPLES
from converters.styletts2.prosody import F0NEnergy
from converters.styletts2.text import TextPredictor
from converters.styletts2.vocoder import Decoder, HarmonicSource
from parity.declarations import Arrays, Dim, Stage, Variant, f32, i32
from references.styletts2.cases import HARMONICS, STYLE

TOKENS = Dim("tokens", 2, 512, buckets=(32, 64, 128, 256, 512))
TEXT = Dim("tokens", 2, 512, buckets=(512,))
"""The denoiser has one size."""
FRAMES = Dim("frames", 3, 4096, buckets=(256, 512, 1024, 2048, 4096))
"""A frame is 25 ms. Upstream normalizes over time: it refuses a single frame, and two become 1 and -1, whose signs may
hang on rounding."""
FP32 = Variant("fp32", "float32")
FP16 = Variant("fp16", "float16", ships=True)
INT8 = Variant("int8", "float16", quantize=True, compute_units="CPU_AND_NE")
ONE_VOICE = "seeded weights have one voice, and all cases are spoken in it"


def spoken(inputs: Arrays, sizes: Mapping[str, int]) -> Arrays:
    """Texts begin with token 0 and have no other."""
    tokens = inputs["tokens"].copy()
    tokens[:, 1:] = np.maximum(tokens[:, 1:], 1)
    return {"tokens": tokens}


STAGES = (
    Stage(
        "text_predictor",
        TextPredictor,
        inputs={"tokens": i32(1, TOKENS), "style": f32(1, STYLE)},
        outputs={
            "t_en": f32(1, 512, TOKENS),
            "d_en": f32(1, 512, TOKENS),
            "d": f32(1, TOKENS, 640),
            "pred_dur_log": f32(1, TOKENS, 50),
            "fixed_embedding": f32(1, TOKENS, 768),
            "bert_dur": f32(1, TOKENS, 768),
        },
        variants=(FP32, FP16, INT8),
        trace_at={"tokens": 20},
        stepped=True,
        resize=spoken,
        common=64,
    ),
    Stage(
        "diffusion_step",
        DiffusionStep,
        inputs={
            "x_noisy": f32(1, 1, 2 * STYLE),
            "sigma": f32(1),
            "embedding": f32(1, TEXT, 768),
            "features": f32(1, 2 * STYLE),
        },
        outputs={"denoised": f32(1, 1, 2 * STYLE)},
        variants=(FP32, FP16),
        trace_at={"tokens": 20},
        compute_units="CPU_AND_GPU",
        stepped=True,
        fixed={"features": ONE_VOICE},
    ),
    Stage(
        "f0n_energy",
        F0NEnergy,
        inputs={"en": f32(1, 640, FRAMES), "s": f32(1, STYLE)},
        outputs={"F0": f32(1, 2 * FRAMES, kind="pitch"), "N": f32(1, 2 * FRAMES)},
        variants=(FP32, FP16),
        trace_at={"frames": 256},
        enumerated=True,
        common=256,
    ),
    Stage(
        "decoder",
        Decoder,
        inputs={
            "asr": f32(1, 512, FRAMES),
            "F0_curve": f32(1, 2 * FRAMES),
            "N": f32(1, 2 * FRAMES),
            "s": f32(1, STYLE),
            "source_noise": f32(1, SAMPLES * FRAMES, HARMONICS),
        },
        outputs={"waveform": f32(1, 1, SAMPLES * FRAMES, kind="audio")},
        variants=(Variant("fp32", "float32", ships=True),),
        trace_at={"frames": 40},
        compute_units="CPU_AND_GPU",
        common=256,
    ),
)

INNER = (
    Stage(
        "harmonic_source",
        HarmonicSource,
        inputs={"F0_curve": f32(1, 2 * FRAMES), "source_noise": f32(1, SAMPLES * FRAMES, HARMONICS)},
        outputs={
            "turns": f32(1, 2 * FRAMES, HARMONICS),
            "phase": f32(1, 2 * FRAMES, HARMONICS),
            "source": f32(SAMPLES * FRAMES, kind="audio"),
        },
        variants=(Variant("fp32", "float32", ships=True),),
        trace_at={"frames": 40},
        within="decoder",
        common=256,
    ),
)
