"""Signals for the tests of what compares, such as a voice, a pitch curve, durations, and how each goes wrong."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from parity.compare.metrics import Fault, find

Array = NDArray[np.float64]
RATE = 24_000
FRAME_RATE = 12.5


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


def activity() -> Array:
    """How probably each of four speaks at each of 300 frames, rising and falling within five.

    One is never heard; two speak one right after the other, then at once, then one of them nearly; the last is heard in
    the second half alone.
    """
    speaks = np.full((300, 4), 0.05)
    for speaker, begin, end in ((1, 5, 90), (2, 90, 120), (1, 120, 148), (2, 134, 175), (3, 185, 290), (1, 270, 280)):
        speaks[begin:end, speaker] = 0.95
    speaks[205:225, 2] = 0.49
    rises = np.array([np.convolve(np.pad(curve, 2, "edge"), np.full(5, 0.2), "valid") for curve in speaks.T]).T
    return np.asarray(rises + 0.005 * np.random.default_rng(8).uniform(-1, 1, rises.shape))


def kept(calls: int = 20, slots: int = 24) -> Array:
    """Which of ever more frames are kept, in order, behind one slot for each call to come that holds none."""
    random = np.random.default_rng(9)
    rows = [np.sort(random.choice(10 * call + 30, slots, replace=False)) for call in range(calls)]
    return np.asarray([np.where(np.arange(slots) < calls - call, -1, row) for call, row in enumerate(rows)], np.float64)


def logits(rows: int = 40, ids: int = 200) -> Array:
    """Rows of scores, each with other best ids."""
    return np.random.default_rng(11).standard_normal((rows, ids))


def segments(count: int = 24) -> Array:
    """First and last sample of short stretches, one after another."""
    begins = 26.0 * np.arange(1, count + 1)
    return np.stack([begins, begins + 13], axis=-1)


def measure(
    name: str,
    reference: ArrayLike,
    candidate: ArrayLike,
    sample_rate: float | None = None,
    turns: np.ndarray | None = None,
) -> float:
    """The value of the metric of a name."""
    return find(name).measure(reference, candidate, sample_rate, turns)


def faulty(reference: Array, fault: Fault) -> Array:
    """Steps are along the last axis."""
    loudness = np.sqrt(np.square(reference).mean())
    candidate = np.array(reference, order="C")  # so that one value of it is found
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
            candidate.reshape(-1, reference.shape[-1])[0, reference.shape[-1] // 2 + 8] += 10 * loudness
    return candidate
