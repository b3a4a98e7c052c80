"""Silero VAD as FluidInference's mobius ships it."""

from __future__ import annotations

from converters.silero_vad.glue import listen
from converters.silero_vad.stages import STAGES
from parity.declarations import System, Tensor
from references.silero_vad import SILERO_VAD
from references.silero_vad.sizes import SEGMENTS

SYSTEM = System(
    SILERO_VAD,
    STAGES,
    listen,
    decisions={"segments": Tensor("int32", (SEGMENTS, 2), "segments")},
)
