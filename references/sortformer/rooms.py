"""Effects of a room and a microphone on speech: echoes, colour and noise, each from a random generator."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from references.sortformer.speaking import RATE

Floats = NDArray[np.float32]

NOISES = ("white", "pink", "low", "babble")


def path(random: np.random.Generator, reverberation: float) -> Floats:
    """The impulse response from one mouth to the microphone, the direct sound first; `reverberation` is the time in
    seconds in which an echo falls by 60 dB, 0 for a dead room."""
    length = max(1, int(min(reverberation, 0.4) * RATE))
    response = np.zeros(length + 32, np.float32)
    response[0] = 1
    if reverberation:
        times = np.arange(length, dtype=np.float32) / RATE
        tail = random.standard_normal(length, np.float32) * np.exp(-6.9 * times / reverberation)
        tail[: int(0.002 * RATE)] = 0
        for delay in random.uniform(0.002, 0.03, 4):
            tail[int(delay * RATE) % length] += random.uniform(-1, 1) * 4
        decibels = random.uniform(2, 18)  # direct sound over all echoes
        response[:length] += tail * np.float32(10 ** (-decibels / 20) / (np.sqrt(np.sum(tail**2)) + 1e-9))
    # A gentle slope to one side or the other, as microphones and distances have.
    slope = random.uniform(-0.4, 0.4)
    return np.asarray(lfilter([1, slope], [1, 0], response), np.float32)


def noise(kind: str, count: int, random: np.random.Generator) -> Floats:
    """So many samples of a steady noise, about as loud as full scale; babble is mixed elsewhere."""
    white = random.standard_normal(count, np.float32)
    if kind == "white":
        return white
    if kind == "low":  # fans and engines
        return np.asarray(lfilter([0.15], [1, -0.97], white), np.float32)
    # Three slopes side by side fall by about 3 dB an octave over the band.
    pink = sum(
        np.float32(gain) * np.asarray(lfilter([1 - pole], [1, -pole], white), np.float32)
        for pole, gain in ((0.997, 6.0), (0.95, 2.0), (0.5, 0.6))
    )
    return np.asarray(pink, np.float32)
