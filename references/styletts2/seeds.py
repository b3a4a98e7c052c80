"""Seeded weights of StyleTTS2, drawn from the names of its parameters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from references import seeding
from references.styletts2.upstream import untrained

# Where seeded weights leave unit gain, so that what the model computes is speech-like and as robust as a trained model:
# durations of 1 to 8 frames, F0 mostly of 80 to 300 Hz with unvoiced stretches, styles of 0.1 to 0.3, audio well inside
# ±1. Little attention and recurrence keep tokens apart; without that, a random stack gives all of them the same value.
_GAINS = {
    "attention.dense.weight": 0.03,
    "ffn_output.weight": 0.03,
    "weight_hh_l0": 0.2,
    "weight_hh_l0_reverse": 0.2,
    "duration_proj.linear_layer.weight": 5.0,
    "F0_proj.weight": 100.0,
    "conv_post.weight_g": 0.03,
    "unshared.weight": 0.3,
    "to_out.1.weight": 0.25,
}
_BIASES = {"duration_proj.linear_layer.bias": -2.9, "F0_proj.bias": 175.0}
_STYLES = {"lstms": 0.2, "predictor.F0": 0.05, "norm": 0.2}
"""Gains of the styles of normalizations, by a part of their names."""

_NORMAL = (1, 1)
_TAILS = {
    "attention.key.weight": (8, 2048),
    "attention.dense.weight": (16, 16384),
    "ffn_output.weight": (16, 16384),
    "embedding": (2, 8),
    "text_encoder.cnn": _NORMAL,
    "noise_convs": (8, 128),
    "generator": (4, 128),
    "weight_v": (4, 256),
    "lstm": (2, 16),
    "fc.weight": (2, 16),
}
"""Tails of each kind of layer, by a part of its name: how much wider, one value in how many. They are those of the
same layers in Kokoro, which has StyleTTS2's architecture; see docs/systems/kokoro.md."""


def seeded(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """One parameter, from its name: unit gain for weights, small biases, near-neutral norms."""
    values = seeding.uniform(f"styletts2/{name}", *shape)
    last = name.rsplit(".", 1)[-1]
    if last in ("weight_g", "gamma") or "alpha" in name or ("norm" in name.lower() and last == "weight"):
        values = 1 + 0.1 * values
    elif last.startswith("bias") or last == "beta":
        recurrent = last in ("bias_ih_l0", "bias_hh_l0", "bias_ih_l0_reverse", "bias_hh_l0_reverse")
        values = (0.0 if recurrent else 0.1) * values + _of_name(_BIASES, name, 0.0)
    else:
        style = next((gain for part, gain in _STYLES.items() if name.endswith("fc.weight") and part in name), 1.0)
        fan_in = 1 if "embedding" in name or last == "weights" else np.prod(shape[1:])
        wide, one_in = _tail(name)
        values = style * fan_in**-0.5 * seeding.tailed(f"styletts2/{name}", *shape, wide=wide, one_in=one_in)
    if "duration_proj" in name:  # one direction for all fifty, or their sum would hardly vary
        values = np.broadcast_to(values[:1], shape)
    return torch.from_numpy((_of_name(_GAINS, name, 1.0) * values).astype(np.float32))


def state(part: str, module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The weights of a part of the model."""
    drawn = {
        name: seeded(f"{part}.{name}", tuple(value.shape)) if value.is_floating_point() else value
        for name, value in module.state_dict().items()
    }
    return {**drawn, **_directions(drawn)}


def _directions(drawn: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The vectors that a spectral norm keeps beside a weight, so that it divides by the length of the first row.

    It divides by u·W·v, which is next to nothing for two vectors that have nothing to do with W.
    """
    found = {}
    for name, value in drawn.items():
        if name.endswith("weight_orig"):
            row = value[0].reshape(-1).double()
            along = torch.zeros(value.shape[0])
            along[0] = 1.0
            found[name.removesuffix("orig") + "u"] = along
            found[name.removesuffix("orig") + "v"] = (row / row.square().sum().sqrt()).float()
    return found


def _tail(name: str) -> tuple[int, int]:
    return next((tail for part, tail in _TAILS.items() if part in name), _NORMAL)


def _of_name(table: dict[str, float], name: str, otherwise: float) -> float:
    return next((value for end, value in table.items() if name.endswith(end)), otherwise)


def seed(checkpoint: Path) -> None:
    torch.save({"net": {part: state(part, module) for part, module in untrained().items()}}, checkpoint)
