"""Qwen3-TTS as its ExecuTorch port cuts it: small, with every part of the published one, and as it is published."""

from __future__ import annotations

from dataclasses import replace

from converters.qwen3_tts.stages import FEW_BITS, system
from parity.declarations import System
from references.qwen3_tts import QWEN3_TTS, QWEN3_TTS_SMALL
from references.qwen3_tts.sizes import PUBLISHED, SMALL


def program(whole: System) -> System:
    """Return a system as the program of few bits, and nothing else."""
    kept = (replace(stage, variants=(replace(stage.variant(FEW_BITS), ships=True),)) for stage in whole.stages)
    return replace(whole, stages=tuple(kept))


SYSTEMS = (system(QWEN3_TTS_SMALL, SMALL), program(system(QWEN3_TTS, PUBLISHED)))
