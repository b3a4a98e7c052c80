"""PocketTTS in six Core ML graphs, as FluidInference's mobius ships it: what goes in and out of each, for any size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from converters.pocket_tts.codec import POSITIONS, MimiDecoder, ring
from converters.pocket_tts.flow import CAPACITY, CondPrefill, CondStep, FlowDecoder, FlowLMStep, FusedFlowDecoder
from converters.pocket_tts.glue import Glue, tables
from parity.declarations import Arrays, Reference, Stage, System, Tensor, Variant, f32, i32, real

LATENT = 32
VARIANTS = (Variant("fp32", "float32"), Variant("fp16", "float16", ships=True))
HELD = Variant("fp16-state", "float16", holds=True)
"""Caches as Core ML states, which want iOS 18; what ships runs from iOS 17 on."""
INT8 = Variant("fp16-int8", "float16", quantize=True, spared=("out_eos",), compute_units="CPU_AND_NE")
"""The row that says when to stop is worth its precision: quantized, it never stops, or always."""


@dataclass(frozen=True)
class Codec:
    """Mimi's decoder: its transformer, then SEANet from the widest convolution down."""

    width: int
    layers: int
    heads: int
    context: int
    filters: int
    kernel: int
    last_kernel: int = 3
    residual_kernel: int = 3
    ratios: tuple[int, ...] = (6, 5, 4)


@dataclass(frozen=True)
class Size:
    """One size of PocketTTS. `conditioned` is the width of what the flow is conditioned on, `prompt` how many rows
    cond_prefill takes."""

    width: int
    layers: int
    heads: int
    head: int
    conditioned: int
    prompt: int
    eos_threshold: float
    codec: Codec


@dataclass(frozen=True)
class Margin:
    """Distance of the end's logit above its threshold."""

    threshold: float

    def __call__(self, outputs: Arrays) -> Arrays:
        return {"eos_margin": outputs["eos_logit"].astype(np.float32) - np.float32(self.threshold)}


def system(reference: Reference, size: Size) -> System:
    margin = Margin(size.eos_threshold)
    glue = Glue(margin, size.prompt, initial(lm_states(size)), initial(codec_states(size.codec)))
    return System(reference, stages(size, margin), glue, tables)


def stages(size: Size, margin: Margin) -> tuple[Stage, ...]:
    states = lm_states(size)
    conditioning, conditioned = real(1, 1, size.width), real(1, size.conditioned)
    latent, time = real(1, LATENT), real(1, 1)
    flow = {"transformer_out": conditioned, "latent": latent, "s": time, "t": time}
    return (
        stepped("cond_step", CondStep, {"conditioning": conditioning}, {}, states, aside=True),
        stepped(
            "cond_prefill",
            CondPrefill,
            {"conditioning": real(1, size.prompt, size.width), "valid": i32(1)},
            {},
            states,
        ),
        stepped(
            "flowlm_step",
            FlowLMStep,
            {"sequence": real(1, 1, LATENT)},
            {"transformer_out": conditioned, "eos_logit": time},
            states,
            variants=(*VARIANTS, HELD, INT8),
            derived={"eos_margin": f32(1, 1, kind="margin")},
            derive=margin,
        ),
        stepped("flow_decoder", FlowDecoder, flow, {"velocity": latent}),
        stepped(
            "flow_decoder_fused",
            FusedFlowDecoder,
            {"transformer_out": conditioned, "noise": latent},
            {"latent": latent},
            aside=True,
        ),
        stepped(
            "mimi_decoder",
            MimiDecoder,
            {"latent": latent},
            {"audio": real(1, 1, samples(size.codec), kind="stream")},
            codec_states(size.codec),
            variants=(*VARIANTS, HELD),
        ),
    )


def stepped(
    name: str,
    module: type[nn.Module],
    inputs: dict[str, Tensor],
    outputs: dict[str, Tensor],
    states: dict[str, Tensor] | None = None,
    variants: tuple[Variant, ...] = VARIANTS,
    **others: Any,
) -> Stage:
    """A stage whose states come in behind its inputs and go out behind its outputs."""
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


def lm_states(size: Size) -> dict[str, Tensor]:
    cache = real(2, 1, CAPACITY, size.heads, size.head, kind="cache", slots=2)
    return attention_states(size.layers, cache)


def attention_states(layers: int, cache: Tensor) -> dict[str, Tensor]:
    caches = {f"cache{i}": cache for i in range(layers)}
    return {**caches, **{f"position{i}": i32(1, kind="counter") for i in range(layers)}}


def codec_states(codec: Codec) -> dict[str, Tensor]:
    """In the order of decoding. Each kind is numbered for itself, and what would be empty is left out."""
    cache = real(2, 1, ring(codec.context), codec.heads, codec.width // codec.heads, kind="cache", slots=2)
    found = {"partial0": real(1, codec.width, POSITIONS), **attention_states(codec.layers, cache)}
    counts = {"previous": 0, "partial": 1}
    for kind, channels, length in seanet_states(codec):
        if length:
            found[f"{kind}{counts[kind]}"] = real(1, channels, length)
            counts[kind] += 1
    return found


def seanet_states(codec: Codec) -> Iterator[tuple[str, int, int]]:
    channels = codec.filters * 2 ** len(codec.ratios)
    yield "previous", codec.width, codec.kernel - 1
    for ratio in codec.ratios:
        channels //= 2
        yield "partial", channels, ratio
        yield "previous", channels, codec.residual_kernel - 1
    yield "previous", channels, codec.last_kernel - 1


def samples(codec: Codec) -> int:
    """Return the samples of one frame."""
    return POSITIONS * int(np.prod(codec.ratios))


def initial(states: dict[str, Tensor]) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of each state before the first step, as the host allocates it."""
    return {
        name: (tensor.sizes({}), "int32" if tensor.dtype == "int32" else "float32") for name, tensor in states.items()
    }
