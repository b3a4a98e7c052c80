"""Seeded weights: what the model computes with them is as steady and as lively as with trained ones."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from references import seeding
from references.pocket_tts import upstream
from references.pocket_tts.sizes import Size

# Where weights leave unit gain.
_GAINS = {
    r"flow_net\.final_layer\.linear\.weight": 0.8,
    r"adaLN_modulation\.1\.weight": 0.7,
    r"flow_lm\.transformer.*linear2\.weight": 0.7,
    r"speaker_proj_weight": 2.0,
    r"mimi\.decoder\.model\.11\.conv\.weight": 0.2,
    r"mimi\.decoder\..*block\.3\.conv\.weight": 0.5,
    r"mimi\.encoder\..*block\.3\.conv\.weight": 0.5,
}


def seed(size: Size, checkpoint: Path) -> None:
    model = upstream.blank(size)
    queries = model.flow_lm.transformer.layers[0].self_attn.attn_dim
    tensors = {
        name: torch.from_numpy(seeded(size, name, tuple(value.shape), queries))
        for name, value in model.state_dict().items()
    }
    save_file(tensors, checkpoint)


def seeded(size: Size, name: str, shape: tuple[int, ...], queries: int) -> np.ndarray:
    """One parameter, from its name: unit gain for weights, small biases, near-neutral norms."""
    key, last = f"{size.name}/{name}", name.rsplit(".", 1)[-1]
    if last == "freqs":  # no parameter, but the checkpoint holds it
        return _frequencies(shape[0]).astype(np.float32)
    if "conditioner." in name:
        # Eight bits: sums of such products are exact, so a table made in any way is the same bits.
        scale = 2.0 if "embed" in name else 0.25
        return np.float32(scale) * np.floor(seeding.uniform(key, *shape) * np.float32(128)) / np.float32(128)
    if "out_eos" in name:
        return _readout(size, last, shape)
    if last in ("emb_std", "alpha") or ("norm" in name and last == "weight") or name.endswith("in_ln.weight"):
        return (1 + 0.1 * seeding.uniform(key, *shape)).astype(np.float32)
    if last == "scale":
        return (0.3 + 0.1 * seeding.uniform(key, *shape)).astype(np.float32)
    if name == "mimi.decoder.model.11.conv.bias":
        return np.zeros(shape, np.float32)
    if last == "bias":
        return np.float32(0.1) * seeding.uniform(key, *shape)
    if last == "emb_mean":
        return np.float32(0.2) * seeding.uniform(key, *shape)
    if last in ("bos_emb", "bos_before_voice"):
        return np.float32(math.sqrt(3)) * seeding.uniform(key, *shape)
    drawn = seeding.clustered(key, *shape).astype(np.float64)
    if "convtr" in name:
        return _upsampling(drawn, depthwise=shape[1] == 1).astype(np.float32)
    gain = next((value for pattern, value in _GAINS.items() if re.search(pattern, name)), 1.0)
    drawn *= gain * math.sqrt(3 / math.prod(shape[1:]))
    if re.search(r"time_embed.*mlp\.0\.weight", name):
        # What hardly turns says nothing about time, and would drown what does.
        drawn *= np.tile(_frequencies(shape[1] // 2), 2) * 3
    if name.endswith("in_proj.weight"):
        # Queries and keys: attention that looks somewhere rather than everywhere.
        width = queries if name.startswith("flow_lm") else shape[0] // 3
        drawn[: (shape[0] + width) // 2] *= 1.2
    return drawn.astype(np.float32)


def _frequencies(count: int) -> np.ndarray:
    return np.array([10_000.0 ** (-i / count) for i in range(count)])


def _upsampling(drawn: np.ndarray, depthwise: bool) -> np.ndarray:
    """Kernels that draw lines from one frame to the next, with some roughness on them, as trained ones do."""
    inputs, _, length = drawn.shape
    half = length // 2
    ramp = (np.arange(half) + 0.5) / half
    window = np.concatenate([ramp, ramp[::-1]])
    fan = 1 if depthwise else inputs
    return math.sqrt(3 / fan) * window * (0.9 * drawn[..., :1] + 0.5 * drawn)


def _readout(size: Size, last: str, shape: tuple[int, ...]) -> np.ndarray:
    if last == "bias":
        return np.full(shape, size.eos_threshold - size.readiness, np.float32)
    drawn = seeding.clustered(f"{size.name}/out_eos/{size.readout}", *shape)
    return (2.0 * math.sqrt(3 / shape[-1]) * drawn).astype(np.float32)
