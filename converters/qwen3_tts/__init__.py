"""Qwen3-TTS as its ExecuTorch port cuts it, in a small configuration with every part of the published one."""

from __future__ import annotations

from converters.qwen3_tts.stages import system
from references.qwen3_tts import QWEN3_TTS_SMALL
from references.qwen3_tts.sizes import SMALL

SYSTEM = system(QWEN3_TTS_SMALL, SMALL)
