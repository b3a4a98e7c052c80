"""python -m references.sortformer.widening OUT.nemo: the trained model in the size of the published one.

It stands in for that where no hub is in reach. Every feature is there several times, in an order of its own, and layers
that change nothing lie between the others: what the large model computes is what the small one does, to rounding.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from references.sortformer import archive
from references.sortformer.checkpoint import TRAINED, Source
from references.sortformer.config import FEATURES, PUBLISHED, SPEAKERS, SUBSAMPLING, Sizes, configuration

State = Mapping[str, torch.Tensor]
Tensors = Iterator[tuple[str, torch.Tensor]]
Map = np.ndarray
"""For each feature of the large model, the one of the small model that it is a copy of."""


@dataclass(frozen=True)
class Part:
    """One layer's features: what it gives, and what it takes where it mixes them."""

    out: Map
    into: Map | None = None
    factor: float = 1.0


def widened(state: State, small: Sizes, large: Sizes) -> dict[str, torch.Tensor]:
    """The weights of the large model. Of every size it needs a multiple of what the small one has, or as much."""
    channels = copies(small.channels, large.channels)
    conformer, head = copies(small.width, large.width), copies(small.head_width, large.head_width)
    flat = np.concatenate([channel * BANDS + np.arange(BANDS) for channel in channels])
    # Upstream multiplies by the square root of the width, and what its layers add is no larger than before.
    scale = (small.width / large.width) ** 0.5
    parts = {
        "encoder.pre_encode.conv.0": Part(channels),
        "encoder.pre_encode.conv.2": Part(channels),
        "encoder.pre_encode.conv.3": Part(channels, channels),
        "encoder.pre_encode.conv.5": Part(channels),
        "encoder.pre_encode.conv.6": Part(channels, channels),
        "encoder.pre_encode.out": Part(conformer, flat, scale),
        "sortformer_modules.encoder_proj": Part(head, conformer),
        "sortformer_modules.first_hidden_to_hidden": Part(head, head),
        "sortformer_modules.single_hidden_to_spks": Part(np.arange(SPEAKERS), head),
        "sortformer_modules.hidden_to_spks": Part(np.arange(SPEAKERS), halves(head, small.head_width)),
    }
    found = {f"{name}.{end}": value for name, part in parts.items() for end, value in grown(state, name, part)}
    for prefix, layers, depth, one in (
        ("encoder.layers", small.conformer_layers, large.conformer_layers, conformer_layer),
        ("transformer_encoder.layers", small.transformer_layers, large.transformer_layers, transformer_layer),
    ):
        for number, (source, works, closes) in enumerate(spread(layers, depth)):
            for name, value in one(state, f"{prefix}.{source}", small, large, works, closes):
                found[f"{prefix}.{number}.{name}"] = value
    return {name: value.contiguous() for name, value in found.items()}


BANDS = FEATURES // SUBSAMPLING
NORMS = ("norm_feed_forward1", "norm_self_att", "norm_conv", "norm_feed_forward2", "norm_out")


def conformer_layer(state: State, name: str, small: Sizes, large: Sizes, works: bool, closes: bool) -> Tensors:
    width, inner = copies(small.width, large.width), copies(4 * small.width, 4 * large.width)
    heads = in_heads(small.width, small.conformer_heads, large.width, large.conformer_heads)
    factor = sharpness(small.width, small.conformer_heads, large.width, large.conformer_heads)
    parts = {
        **dict.fromkeys(NORMS, Part(width)),
        "feed_forward1.linear1": Part(inner, width),
        "feed_forward1.linear2": Part(width, inner),
        "feed_forward2.linear1": Part(inner, width),
        "feed_forward2.linear2": Part(width, inner),
        "self_attn.linear_q": Part(heads, width, factor),
        "self_attn.linear_k": Part(heads, width),
        "self_attn.linear_v": Part(heads, width),
        "self_attn.linear_out": Part(width, heads),
        "conv.pointwise_conv1": Part(halves(width, small.width), width),
        "conv.depthwise_conv": Part(width),
        "conv.batch_norm": Part(width),
        "conv.pointwise_conv2": Part(width, width),
    }
    last = ("feed_forward1.linear2", "feed_forward2.linear2", "self_attn.linear_out", "conv.pointwise_conv2")
    yield from layer(state, name, parts, last if not works else (), () if closes else ("norm_out",))
    for bias in ("pos_bias_u", "pos_bias_v"):
        value = state[f"{name}.self_attn.{bias}"].reshape(-1)[heads] * factor
        yield f"self_attn.{bias}", value.reshape(large.conformer_heads, -1)
    # Distances are told by sines and cosines of rising periods. The small model's are among the large one's.
    projection = state[f"{name}.self_attn.linear_pos.weight"][heads]
    pairs = projection.reshape(len(heads), -1, 2)
    among = torch.zeros(len(heads), large.width // 2, 2)
    among[:, :: large.width // small.width] = pairs
    yield "self_attn.linear_pos.weight", among.flatten(1)


def transformer_layer(state: State, name: str, small: Sizes, large: Sizes, works: bool, closes: bool) -> Tensors:
    width, inner = (
        copies(small.head_width, large.head_width),
        copies(4 * small.head_width, 4 * large.head_width),
    )
    heads = in_heads(small.head_width, small.transformer_heads, large.head_width, large.transformer_heads)
    factor = sharpness(small.head_width, small.transformer_heads, large.head_width, large.transformer_heads)
    parts = {
        "layer_norm_1": Part(width),
        "layer_norm_2": Part(width),
        "first_sub_layer.query_net": Part(heads, width, factor),
        "first_sub_layer.key_net": Part(heads, width),
        "first_sub_layer.value_net": Part(heads, width),
        "first_sub_layer.out_projection": Part(width, heads),
        "second_sub_layer.dense_in": Part(inner, width),
        "second_sub_layer.dense_out": Part(width, inner),
    }
    last = ("first_sub_layer.out_projection", "second_sub_layer.dense_out")
    plain = (() if works else ("layer_norm_1",)) + (() if closes else ("layer_norm_2",))
    yield from layer(state, name, parts, () if works else last, plain)


def layer(
    state: State, name: str, parts: Mapping[str, Part], silent: tuple[str, ...], plain: tuple[str, ...]
) -> Tensors:
    """`silent` parts give the same to all features, which the next norm takes away; `plain` norms only normalise, which
    they do once and then no more."""
    for part, known in parts.items():
        for end, value in grown(state, f"{name}.{part}", known):
            if part in silent:
                value = value[:1].expand_as(value)
            elif part in plain:
                value = torch.full_like(value, float(end == "weight"))
            yield f"{part}.{end}", value


def grown(state: State, name: str, part: Part) -> Tensors:
    for key, value in state.items():
        if key.rpartition(".")[0] != name:
            continue
        end = key.rpartition(".")[2]
        if not value.ndim:
            yield end, value
        elif end == "weight" and part.into is not None:
            # Each feature that is taken comes several times.
            often = len(part.into) / value.shape[1]
            yield end, value[part.out][:, part.into] * (part.factor / often)
        else:
            yield end, value[part.out] * part.factor


def copies(small: int, large: int) -> Map:
    """In an order that is not that of the small model, so that a mistake in the order of features shows."""
    often, rest = divmod(large, small)
    if rest:
        raise ValueError(f"{large} features can't be {small} in copies: take a multiple")
    return np.random.default_rng(large).permutation(np.repeat(np.arange(small), often))


def halves(features: Map, small: int) -> Map:
    """Return the order that puts all first values of the features before all second ones."""
    return np.concatenate([features, features + small])


def in_heads(small: int, small_heads: int, large: int, large_heads: int) -> Map:
    """Features that belong together in heads stay together there."""
    before, after = small // small_heads, large // large_heads
    inside = copies(before, after)
    return np.concatenate([head % small_heads * before + inside for head in range(large_heads)])


def sharpness(small: int, small_heads: int, large: int, large_heads: int) -> float:
    """Attention divides by the square root of a head's size, and a product of copies grows by as many as they are."""
    return ((small / small_heads) / (large / large_heads)) ** 0.5


def spread(small: int, large: int) -> Iterator[tuple[int, bool, bool]]:
    """For each layer of the large model, from which one it comes, whether it works, and whether it is the last of
    those that come from there."""
    sources = [number * small // large for number in range(large)]
    for number, source in enumerate(sources):
        yield source, source not in sources[:number], source not in sources[number + 1 :]


def write(path: Path, small: Path = TRAINED, sizes: Sizes = PUBLISHED) -> None:
    source = Source(small)
    archive.write(path, configuration(sizes), widened(source.state, source.sizes, sizes))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m references.sortformer.widening", description=__doc__)
    parser.add_argument("out", type=Path, help="the archive to write, half a gigabyte")
    write(parser.parse_args().out)


if __name__ == "__main__":
    main()
