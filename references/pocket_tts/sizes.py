"""The two sizes that are ported, and what the port makes of the upstream's caches."""

from __future__ import annotations

from dataclasses import dataclass

LATENT = 32
SAMPLE_RATE = 24_000
FRAME = 1920
FRAME_RATE = 12.5
STEPS = 8
TEMPERATURE = 0.7
# Upstream ignores EOS on the first frames.
GUARD = 6
# Slots of the flow LM's caches as they ship.
CAPACITY = 512


@dataclass(frozen=True)
class Size:
    """`config` is the upstream's own, with the flow head of the port: a step from s to t. `prefill` tokens go at once.

    Seeded weights fire EOS where the cases promise it: of the draws of its weights `readout` is taken, and what they
    give fires above `readiness`.
    """

    name: str
    config: str
    eos_threshold: float
    prefill: int
    readout: int
    readiness: float


SMALL = Size("pocket_tts_2m", "english_2m_2026-10", -1.0, 128, 50788, 2.955)
FULL = Size("pocket_tts", "english_2026-10", -4.0, 256, 1088, -0.378)


def ring(context: int) -> int:
    """Slots of a Mimi cache as it ships: what sixteen positions at once can see, in whole frames."""
    return -(-(context + 15) // 16) * 16
