"""Qwen3-TTS as its ExecuTorch port cuts it: small, with every part of the published one, and as it is published."""

from __future__ import annotations

from dataclasses import replace

from converters.qwen3_tts.stages import FEW_BITS, system
from parity.declarations import System
from references.qwen3_tts import QWEN3_TTS, QWEN3_TTS_SMALL
from references.qwen3_tts.sizes import PUBLISHED, SMALL


def only(system: System, name: str) -> System:
    """Return a system in the variants of one name, which are all that ships."""
    kept = (replace(stage, variants=(replace(stage.variant(name), ships=True),)) for stage in system.stages)
    return replace(system, stages=tuple(kept))


SYSTEMS = (
    system(QWEN3_TTS_SMALL, SMALL),
    # The program alone: as packages, its fp32 form would take three times the memory of the upstream model.
    only(system(QWEN3_TTS, PUBLISHED), FEW_BITS),
)
