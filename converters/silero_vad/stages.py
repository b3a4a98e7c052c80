"""Silero VAD in five Core ML graphs: the three parts, one step, and eight steps at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from converters.silero_vad.modules import Decoder, Encoder, Stft, Unified, Unified256
from parity.declarations import Arrays, ComputeUnits, Stage, Tensor, Variant, f32
from references.silero_vad.sizes import BINS, CHUNK, CHUNKS, CONTEXT, FRAMES, THRESHOLD, WIDTH

TARGET = "iOS15"
"""Compressed variants need iOS 16; the converter says so in the package."""
UNITS: ComputeUnits = "CPU_AND_NE"
"""On a GPU, int8 weights end in "MLIR pass manager failed"; lookup tables don't."""
FEWEST = 2049
"""Elements of a weight that coremltools compresses by default: it leaves the last convolution alone, of 128."""
PRUNED = 0.01


def shipped(published: str) -> Variant:
    return Variant("fp16", "float16", ships=True, published=f"{published}.mlmodelc")


def quantized(name: str, published: str, **more: Any) -> Variant:
    return Variant(
        name, "float16", quantize=True, fewest=FEWEST, compute_units=UNITS, published=f"{published}.mlmodelc", **more
    )


def palettized(bits: int, published: str) -> Variant:
    return Variant(f"fp16-pal{bits}", "float16", palettize=bits, published=f"{published}_palette_{bits}bit.mlmodelc")


def variants(plain: str, prefix: str) -> tuple[Variant, ...]:
    """Return the ways in which a whole graph is published, and fp32."""
    return (
        Variant("fp32", "float32"),
        shipped(plain),
        quantized("fp16-int8", f"{prefix}_int8", zero_points=True),
        quantized("fp16-mixed", f"{prefix}_mixed"),
        palettized(8, prefix),
        palettized(6, prefix),
        quantized("fp16-pruned-int8", f"{prefix}_pruned_int8", zero_points=True, prune=PRUNED),
    )


def coarse(prefix: str) -> tuple[Variant, ...]:
    """Return the published variants that the gates refuse: palettes of 4 and of 2 bits."""
    return palettized(4, prefix), palettized(2, prefix)


def margin(outputs: Arrays) -> Arrays:
    """Return the distance of the probability above the threshold."""
    return {"margin": outputs["vad_output"].astype(np.float32) - np.float32(THRESHOLD)}


STATE = f32(1, WIDTH)
STATES = {"hidden_state": STATE, "cell_state": STATE}
SPECTRUM, ENCODED, PROBABILITY = f32(1, BINS, FRAMES), f32(1, WIDTH, 1), f32(1, 1, 1)


def part(name: str, module: Any, inputs: dict[str, Tensor], outputs: dict[str, Tensor], **more: Any) -> Stage:
    known = {"variants": (shipped(f"silero-vad-{name}-v6.0.0"),), "aside": True, **more}
    return Stage(name, module, inputs, outputs, target=TARGET, stepped=True, **known)


def deciding(name: str, module: Any, inputs: dict[str, Tensor], **more: Any) -> Stage:
    """Return a stage with the two states, which gives a probability."""
    stage = part(
        name,
        module,
        {**inputs, **STATES},
        {"vad_output": PROBABILITY, "new_hidden_state": STATE, "new_cell_state": STATE},
        **more,
    )
    carries = {"new_hidden_state": "hidden_state", "new_cell_state": "cell_state"}
    return replace(stage, carries=carries, derived={"margin": replace(PROBABILITY, kind="margin")}, derive=margin)


STAGES = (
    part("stft", Stft, {"audio_input": f32(1, CONTEXT + CHUNK)}, {"stft_output": SPECTRUM}),
    part("encoder", Encoder, {"stft_output": SPECTRUM}, {"encoder_output": ENCODED}),
    deciding("decoder", Decoder, {"encoder_output": ENCODED}),
    deciding(
        "unified",
        Unified,
        {"audio_input": f32(1, CONTEXT + CHUNK)},
        variants=variants("silero-vad-unified-v6.0.0", "unified"),
        aside=False,
    ),
    deciding(
        "unified_256ms",
        Unified256,
        {"audio_input": f32(1, CONTEXT + CHUNKS * CHUNK)},
        variants=variants("silero-vad-unified-256ms-v6.0.0", "unified_256ms"),
    ),
)
