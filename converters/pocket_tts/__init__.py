"""PocketTTS as its authors publish it: a flow LM of 1024 and six layers, Mimi of 512."""

from __future__ import annotations

from converters.pocket_tts.stages import Codec, Size, system
from references.pocket_tts import POCKET_TTS

CODEC = Codec(width=512, layers=2, heads=8, context=250, filters=64, kernel=7)
SIZE = Size(width=1024, layers=6, heads=16, head=64, conditioned=1024, prompt=256, eos_threshold=-4.0, codec=CODEC)

SYSTEM = system(POCKET_TTS, SIZE)
