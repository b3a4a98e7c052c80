"""A recording that can be listened to: checked once, resampled where it is wanted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]
RATE = 16_000
"""Samples a second that every ear of ours takes."""
SHORTEST = 0.2
"""Seconds. Less holds no word, and no frames enough for an embedding."""
SILENT = 1e-4
"""A peak of 80 dB under full scale: three steps of 16-bit sound."""


class SpeechError(ValueError):
    """A recording, a text or a plug-in that speech can't be measured with; the message names it and the mend."""


@dataclass(frozen=True)
class Sound:
    """One recording of one voice, fit to be measured; made by `sound`."""

    samples: Samples
    rate: int
    name: str = "the recording"


def sound(samples: Any, rate: int, name: str = "the recording") -> Sound:
    """Return the sound; refuse what speech metrics cannot judge: nothing, silence, NaN, several channels."""
    array = np.asarray(samples)
    if array.dtype.kind != "f":
        raise SpeechError(f"{name} is of {array.dtype}: speech is measured on floating-point samples in ±1")
    if array.ndim != 1:
        raise SpeechError(f"{name} has the shape {array.shape}: speech is measured on one channel of samples")
    if rate <= 0:
        raise SpeechError(f"{name} has a sample rate of {rate}: give the rate that it was recorded at")
    if not np.isfinite(array).all():
        bad = int(np.count_nonzero(~np.isfinite(array)))
        raise SpeechError(f"{name} has {bad} samples of {array.size} that are NaN or infinite: mend what made it")
    if array.size < SHORTEST * rate:
        raise SpeechError(f"{name} lasts {array.size / rate:.3f} s: speech takes {SHORTEST} s at least")
    if float(np.abs(array).max()) < SILENT or float(np.ptp(array)) < SILENT:
        raise SpeechError(f"{name} is silent: nothing under a peak of {SILENT:g} can be heard")
    return Sound(np.ascontiguousarray(array, np.float32), int(rate), name)


def resampled(samples: Samples, rate: int) -> Samples:
    """Return the samples at `RATE`."""
    from scipy.signal import resample_poly

    if rate == RATE:
        return samples
    common = math.gcd(rate, RATE)
    return np.asarray(resample_poly(samples.astype(np.float64), RATE // common, rate // common), np.float32)
