"""Signals and faults for the tests of what compares: a voice, a pitch curve, durations, and how each goes wrong."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from parity.metrics import Fault

Array = NDArray[np.float64]
RATE = 24_000


def voice(phases: int = 0, seconds: float = 1.0) -> Array:
    """Harmonics of a wavering pitch, and breath, from silence to silence; ``phases`` seeds those of the harmonics."""
    time = np.arange(int(RATE * seconds)) / RATE
    turn = 2 * np.pi * np.cumsum(140 + 20 * np.sin(4 * np.pi * time)) / RATE
    starts = np.random.default_rng(phases).uniform(0, 2 * np.pi, 40)
    tones = np.array([np.sin(k * turn + starts[k]) / k for k in range(1, 40)]).sum(axis=0)
    breath = 0.02 * np.random.default_rng(99).standard_normal(len(time))
    return np.asarray((tones * (0.6 + 0.4 * np.sin(6 * np.pi * time)) + breath) * np.sin(np.pi * time / seconds) ** 2)


def pitch(frames: int = 288) -> Array:
    """120 to 180 Hz, with an unvoiced third of every 120 frames."""
    frame = np.arange(frames)
    curve = 150 + 30 * np.sin(frame / 15) + np.random.default_rng(5).standard_normal(frames)
    return np.where(frame // 40 % 3 == 2, 0.0, curve)


def durations(tokens: int = 66) -> Array:
    return np.random.default_rng(6).uniform(1, 8, tokens)


def faulty(reference: Array, fault: Fault) -> Array:
    loudness = np.sqrt(np.square(reference).mean())
    candidate = reference.copy()
    match fault:
        case "gain":
            return np.asarray(1.05 * reference)
        case "offset":
            return np.asarray(reference + 0.1 * loudness)
        case "shift":
            return np.roll(reference, 1, axis=-1)
        case "sign":
            return -reference
        case "order":
            return np.random.default_rng(7).permutation(reference, axis=-1)
        case "phase":
            return voice(phases=1)
        case "half":
            candidate[..., reference.shape[-1] // 2 :] = 0
        case "zeros":
            candidate[:] = 0
        case "spike":
            candidate[..., reference.shape[-1] // 2 + 8] += 10 * loudness
    return candidate
