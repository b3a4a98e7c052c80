"""Sizes that upstream's model for 16 kHz has."""

from __future__ import annotations

RATE = 16_000
CHUNK, CONTEXT = 512, 64
"""Samples of a step, and those of the step before that go in front of them."""
CHUNKS = 8
"""Steps that the port's larger graph takes at once."""
BINS, FRAMES, WIDTH = 129, 4, 128
"""Frequencies and frames of a step's spectrogram; size of its encoding and of each of the two states."""
THRESHOLD = 0.5
SEGMENTS = 24
"""Stretches of speech that a golden has room for."""
