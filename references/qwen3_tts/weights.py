"""Seeded weights: what the model computes with them is as steady and as lively as with trained ones."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from references import seeding
from references.qwen3_tts import upstream
from references.qwen3_tts.sizes import CODEC_EOS, Size

# Where weights leave unit gain.
_GAINS = {
    r"codec_head\.weight": 3.0,
    r"lm_head\.": 3.5,
    r"(codec|text)_embedding": 1.0,
    r"embedding_sum": 1.0,
    r"self_attn\.[qk]_proj": 1.2,
    r"down_proj": 0.7,
    r"block\.\d\.conv2\.conv\.weight": 0.4,
    r"^decoder\.decoder\.6\.conv\.weight": 0.12,
}
_EOS_GAIN = 2.5


def seed(size: Size, checkpoint: Path) -> None:
    model = upstream.blank(size)
    parts = {"model.": model.model, "decoder.": model.decoder}
    save_file(
        {
            prefix + name: torch.from_numpy(seeded(size, prefix + name, tuple(value.shape)))
            for prefix, part in parts.items()
            for name, value in part.state_dict().items()
        },
        checkpoint,
    )


def seeded(size: Size, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return one parameter, from its name: unit gain for weights, small biases, near-neutral norms."""
    key, last = f"{size.name}/{name}", name.rsplit(".", 1)[-1]
    if "norm" in name and last == "weight":
        return 1 + np.float32(0.1) * seeding.uniform(key, *shape)
    if last in ("alpha", "beta"):
        return np.float32(0.3) * seeding.uniform(key, *shape)
    if last in ("scale", "gamma"):
        return np.float32(0.3) + np.float32(0.1) * seeding.uniform(key, *shape)
    if last == "cluster_usage":
        return np.float32(1.5) + seeding.uniform(key, *shape)
    if last == "bias":
        return np.float32(0.0 if name.startswith("decoder.decoder.6") else 0.05) * seeding.uniform(key, *shape)
    gain = next((value for pattern, value in _GAINS.items() if re.search(pattern, name)), 1.0)
    drawn = seeding.clustered(key, *shape).astype(np.float64)
    if name == "model.talker.codec_head.weight":
        drawn[CODEC_EOS] = _EOS_GAIN * seeding.clustered(f"{size.name}/eos/{size.readout}", shape[1])
    return (gain * math.sqrt(3 / _fan(name, shape)) * drawn).astype(np.float32)


def _fan(name: str, shape: tuple[int, ...]) -> float:
    """Return how many products of a weight add up to one value."""
    if "embedding" in name:
        return 1
    if re.search(r"upsample\.\d\.0|block\.1\.conv", name):  # transposed: two taps of each input reach an output
        return shape[0] * (2 if "block" in name else 1)
    return math.prod(shape[1:])
