"""Qwen3-TTS as methods of an ExecuTorch program and as Core ML graphs: what goes in and out of each, for any size."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, Literal

from converters.qwen3_tts.decoder import Decoder
from converters.qwen3_tts.glue import Glue, margin
from converters.qwen3_tts.predictor import GREEDY, CodeGenerator, CodeHead, CodePredictor, CodeReplay
from converters.qwen3_tts.talker import CodecEmbed, EncodeText, Talker, TalkerPrefill
from parity.declarations import Dim, Reference, Stage, System, Tensor, Variant, f32, i32, real
from references.qwen3_tts import sizes
from references.qwen3_tts.record import PROMPT
from references.qwen3_tts.sizes import CODES, FRAME, GROUPS, VOCABULARY, Size


def ways(group: int | None = None, tables: Literal[4, 8] | None = None) -> tuple[Variant, ...]:
    """Return the variants of a stage: as a Core ML package and in two programs, of which one has weights of few bits.

    In half precision the same uniforms choose other codes; see docs/systems/qwen3_tts.md.
    """
    few = Variant(FEW_BITS, "float32", format="pte", group=group, tables=tables, unchained=OTHER_CODES)
    return Variant("fp32", "float32", ships=True), Variant("pte-fp32", "float32", format="pte"), few


FEW_BITS = "pte-8da4w"
OTHER_CODES = "with int4 weights the same uniforms choose other codes, and one in three is upstream's in the worst case"
FOLLOWED = "with int4 weights a code in two is not upstream's after the same codes, and changes all that follow"
HALF_CODES = "in half precision the same uniforms choose other codes"
SPEAKING, PLAIN = ways(group=32), ways()
"""Not quantized: the heads of `cp_head`, which are one tensor, and the decoder, most of which are convolutions."""
GENERATING = tuple(replace(one, replayed=FOLLOWED if one.name == FEW_BITS else "") for one in ways(group=32, tables=4))
HELD = Variant("fp16-state", "float16", holds=True, unchained=HALF_CODES)
BYTES = Variant("pte-8da4w-8w", "float32", format="pte", tables=8, unchained=OTHER_CODES)
"""A program of the two stages that look up, with tables of 8 bits."""
INT8 = Variant("fp16-int8", "float16", quantize=True, compute_units="CPU_AND_NE", unchained=HALF_CODES)
INT4 = Variant(
    "fp16-int4",
    "float16",
    group=32,
    fewest=1025,
    target="iOS18",
    compute_units="CPU_AND_NE",
    unchained=HALF_CODES,
)
"""The rows that norms take a mean with are smaller, and stay as they are."""
SOUNDING = (*PLAIN, Variant("fp16", "float16"))
CONTRACT = {
    "codec_pad": sizes.CODEC_PAD,
    "codec_bos": sizes.CODEC_BOS,
    "codec_eos": sizes.CODEC_EOS,
    "codec_think": sizes.THINK,
    "codec_nothink": sizes.NOTHINK,
    "codec_think_bos": sizes.THINK_BOS,
    "codec_think_eos": sizes.THINK_EOS,
    "tts_pad": sizes.TTS_PAD,
    "tts_bos": sizes.TTS_BOS,
    "tts_eos": sizes.TTS_EOS,
    "top_k": sizes.TOP_K,
    "greedy_below": GREEDY,
    "code_groups": GROUPS,
    "contract_version": 2,
}
ID, POSITION = i32(1), i32(1)


def system(reference: Reference, size: Size) -> System:
    samples = FRAME * Dim("frames", 1, size.capacity)
    return System(
        reference,
        stages(size),
        Glue(size),
        decisions={
            "tokens": i32(Dim("tokens", 1, size.capacity), kind="counter"),
            "codes": i32((GROUPS - 1) * Dim("frames", 1, size.capacity), kind="counter"),
            "audio": f32(samples, kind="audio"),
        },
        sums=("embeds",),
        contract=CONTRACT,
    )


def stages(size: Size) -> tuple[Stage, ...]:
    tokens, frames = Dim("tokens", 1, 128), Dim("frames", 1, max(64, size.chunk))
    row = real(1, 1, size.talker.width)
    logits = real(1, 1, VOCABULARY, kind="logits")
    talks = caches(size.talker.layers, size.capacity, size.talker.shared, size.talker.head)
    predicts = caches(size.predictor.layers, GROUPS, size.predictor.shared, size.predictor.head)
    window = size.chunk + size.context
    return (
        Stage(
            "encode_text",
            EncodeText,
            {"tokens": i32(1, tokens)},
            {"embeds": real(1, tokens, size.talker.width)},
            (*ways(group=32, tables=4), replace(BYTES, group=32)),
            trace_at={"tokens": 16},
        ),
        stepped(
            "codec_embed",
            CodecEmbed,
            {"token": ID, "group": ID},
            {"embed": row},
            variants=(*ways(tables=4), BYTES),
            portable=True,
        ),
        Stage(
            "talker_prefill",
            partial(TalkerPrefill, size, rows=PROMPT),
            {"embeds": real(1, PROMPT, size.talker.width), "valid": i32(1)},
            {"logits": logits, "hidden": row, **{f"{name}_out": tensor for name, tensor in talks.items()}},
            (*SPEAKING, INT8, INT4),
        ),
        stepped(
            "talker",
            partial(Talker, size),
            {"embeds": row, "position": POSITION},
            {"logits": logits, "hidden": row},
            talks,
            (*SPEAKING, HELD, INT8, INT4),
            derived={"eos_margin": f32(1, 1, kind="margin")},
            derive=margin,
        ),
        stepped(
            "code_predictor",
            CodePredictor,
            {"embeds": row, "position": POSITION},
            {"hidden": row},
            predicts,
            (*SPEAKING, HELD, INT8, INT4),
        ),
        stepped(
            "cp_head",
            CodeHead,
            {"hidden": real(1, size.predictor.width), "group": ID},
            {"logits": real(1, CODES, kind="logits")},
            variants=PLAIN,
        ),
        stepped(
            "cp_generate",
            CodeGenerator,
            {"hidden": row, "embed": row, "temperature": f32(1), "uniforms": f32(GROUPS - 1)},
            {"codes": i32(GROUPS - 1, kind="counter"), "embed_sum": row},
            variants=GENERATING,
            aside=True,
            replay=CodeReplay,
        ),
        Stage(
            "decode_audio",
            partial(Decoder, frames=frames.high),
            {"codes": i32(1, frames, GROUPS)},
            {"audio": real(FRAME * frames, kind="audio")},
            SOUNDING,
            trace_at={"frames": min(size.chunk, 25)},
            aside=True,
        ),
        stepped(
            "decode_audio_stream",
            partial(Decoder, frames=window),
            {"codes": i32(1, window, GROUPS)},
            {"audio": real(FRAME * window, kind="stream")},
            variants=SOUNDING,
        ),
    )


def stepped(
    name: str,
    module: Any,
    inputs: dict[str, Tensor],
    outputs: dict[str, Tensor],
    states: dict[str, Tensor] | None = None,
    variants: tuple[Variant, ...] = SPEAKING,
    **others: Any,
) -> Stage:
    """Return a stage whose caches come in behind its inputs and go out behind its outputs."""
    states = states or {}
    return Stage(
        name,
        module,
        {**inputs, **states},
        {**outputs, **{f"{state}_out": tensor for state, tensor in states.items()}},
        variants,
        stepped=True,
        carries={f"{state}_out": state for state in states},
        **others,
    )


def caches(layers: int, slots: int, heads: int, head: int) -> dict[str, Tensor]:
    return {f"cache{layer}": real(2, 1, slots, heads, head, kind="cache", slots=2) for layer in range(layers)}
