"""Sortformer in four Core ML graphs, as FluidInference's mobius ships it: what goes in and out of each."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from converters.sortformer.frontend import PreEncoder, Preprocessor
from converters.sortformer.glue import Glue
from converters.sortformer.head import Head, Pipeline
from parity.declarations import Dim, Reference, Stage, System, Tensor, Variant, f32, i32
from references.sortformer.checkpoint import Source
from references.sortformer.config import (
    BLOCK,
    FEATURES,
    FRAMES_PER_SECOND,
    SAMPLES,
    SMALL,
    SPEAKERS,
    SUBSAMPLING,
    Streaming,
)

FP32 = (Variant("fp32", "float32", ships=True),)
FP16, PALETTIZED = Variant("fp16", "float16"), Variant("fp16-pal6", "float16", palettize=6, ships=True)
INT8 = Variant("fp16-int8", "float16", quantize=True, compute_units="CPU_AND_NE")
"""On a GPU, int8 weights end in "MLIR pass manager failed"; lookup tables don't."""
FRAMES, UPDATES = Dim("frames", 1, 1_000_000), Dim("updates", 1, 1_000_000)


def system(title: str, scope: str, reference: Reference, streaming: Streaming, width: int = SMALL.width) -> System:
    """`width` is how many numbers an embedding has: that of the trained model, unless a checkpoint has another."""

    def sized(checkpoint: Path) -> System:
        return system(title, scope, reference, streaming, Source(checkpoint).sizes.width)

    return System(
        reference,
        stages(streaming, width),
        Glue(streaming, width),
        title=title,
        scope=scope,
        sized=sized,
        sums=("spkcache",),  # the mean of all silence
        decisions={
            "silent": i32(UPDATES, streaming.popped, kind="kept"),
            "kept": i32(UPDATES, streaming.spkcache_len, kind="kept"),
            "activity": f32(FRAMES, SPEAKERS, kind="speakers"),
            "speaking": Tensor("int32", (FRAMES, SPEAKERS), "diarization", rate=FRAMES_PER_SECOND),
        },
    )


def stages(streaming: Streaming, width: int) -> tuple[Stage, ...]:
    """Numbers stay in single precision between the graphs; within, the head computes in half."""
    length = i32(1, kind="counter")
    window = f32(1, streaming.window, width)
    into = {
        "chunk": f32(1, streaming.window * SUBSAMPLING, FEATURES),
        "chunk_lengths": length,
        "spkcache": f32(1, streaming.spkcache_len, width),
        "spkcache_lengths": length,
        "fifo": f32(1, streaming.fifo_len, width),
        "fifo_lengths": length,
    }
    between = {
        "pre_encoder_embs": f32(1, streaming.frames, width),
        "pre_encoder_lengths": length,
        "chunk_pre_encoder_embs": window,
        "chunk_pre_encoder_lengths": length,
    }
    out = {
        "speaker_preds": f32(1, streaming.frames, SPEAKERS, kind="speakers"),
        "chunk_pre_encoder_embs_out": window,
        "chunk_pre_encoder_lengths_out": length,
    }
    return (
        Stage(
            "preprocessor",
            Preprocessor,
            {"audio_signal": f32(1, SAMPLES), "length": length},
            {"features": f32(1, BLOCK, FEATURES), "feature_lengths": length},
            FP32,
            stepped=True,
        ),
        Stage(
            "pre_encoder",
            partial(PreEncoder, streaming=streaming),
            into,
            between,
            FP32,
            aside=True,
            stepped=True,
        ),
        Stage(
            "head",
            partial(Head, frames=streaming.frames),
            between,
            out,
            (FP16, PALETTIZED, INT8),
            aside=True,
            stepped=True,
        ),
        Stage(
            "pipeline",
            partial(Pipeline, streaming=streaming),
            into,
            out,
            (FP16, PALETTIZED),
            parts=("pre_encoder", "head"),
            stepped=True,
        ),
    )
