"""PocketTTS of two million parameters: queries that share keys, and a decoder of a quarter of the width."""

from __future__ import annotations

from converters.pocket_tts.stages import Codec, Size, system
from references.pocket_tts import POCKET_TTS_2M

CODEC = Codec(width=128, layers=4, heads=4, context=50, filters=24, kernel=3)
SIZE = Size(width=112, layers=8, heads=1, head=64, conditioned=64, prompt=128, eos_threshold=-1.0, codec=CODEC)

SYSTEM = system(POCKET_TTS_2M, SIZE)
