"""Sortformer as it ships: two versions of the weights, each in several trades of delay for cost."""

from __future__ import annotations

from converters.sortformer.stages import system
from references.sortformer import V2, V2_1
from references.sortformer.config import DEFAULT, EFFICIENT, NVIDIA_HIGH, NVIDIA_LOW

SYSTEMS = (
    system("sortformer_v2_default", "default", V2, DEFAULT),
    system("sortformer_v2_low", "low", V2, NVIDIA_LOW),
    system("sortformer_v2_high", "high", V2, NVIDIA_HIGH),
    system("sortformer_v2_1_default", "default", V2_1, DEFAULT),
    system("sortformer_v2_1_low", "low", V2_1, NVIDIA_LOW),
    system("sortformer_v2_1_high", "high", V2_1, NVIDIA_HIGH),
    system("sortformer_efficient", "efficient", V2_1, EFFICIENT),
)
