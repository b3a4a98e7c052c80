"""Metrics of pitch: of curves in hertz that a stage gives, and of waveforms by the probabilistic YIN of librosa."""

from __future__ import annotations

import math

import numpy as np

from parity.base.arithmetic import pearson
from parity.base.libraries import librosa
from parity.compare.metrics.registry import AUDIO, Array, metric

VOICED_HZ = 10.0
"""Above it a frame is voiced: the threshold of the harmonic source in HiFi-GAN's neural source filter and its heirs."""
FEWEST_FRAMES = 8
"""A correlation of fewer points says little: it is undefined."""
LOWEST_HZ, HIGHEST_HZ = 65.0, 600.0
"""The range of speech in which pitch is sought."""


@metric(kinds=("pitch",), better="higher", ideal=1.0, floor=1e-4, limit=0.5, blind_to=("gain", "offset", "half"))
def f0_correlation(reference: Array, candidate: Array) -> float:
    """Return the correlation of two pitch curves over the frames that both voice, from -1 to 1.

    Blind to a transposed voice (gain), to a raised one (offset) and to frames that only one of them voices: gate it
    together with the voicing agreement and a metric of scale. NaN for fewer than eight such frames.
    """
    both = (reference > VOICED_HZ) & (candidate > VOICED_HZ)
    if both.sum() < FEWEST_FRAMES:
        return math.nan
    return pearson(reference[both], candidate[both])


@metric(kinds=("pitch",), better="higher", ideal=1.0, floor=0.0, limit=0.5, blind_to=("gain", "spike"))
def voicing_agreement(reference: Array, candidate: Array) -> float:
    """Return the share of frames of two pitch curves that are voiced in both or in neither, from 0 to 1.

    Blind to the pitch itself, as long as it stays above the threshold.
    """
    return float(np.mean((reference > VOICED_HZ) == (candidate > VOICED_HZ)))


@metric(
    kinds=AUDIO,
    better="higher",
    ideal=1.0,
    floor=1e-2,
    limit=0.5,
    blind_to=("gain", "offset", "shift", "sign", "phase", "half", "spike"),
    on_request=True,
)
def pitch_correlation(reference: Array, candidate: Array, sample_rate: float) -> float:
    """Return the correlation of the pitch of two waveforms over the frames that both voice, from -1 to 1.

    Pitch is estimated by pYIN between 65 and 600 Hz. Blind to everything that keeps the periods of the waveform, and
    to frames that only one of them voices. NaN for fewer than eight voiced frames.
    """
    return f0_correlation(_pitch(reference, sample_rate), _pitch(candidate, sample_rate))


@metric(
    kinds=AUDIO,
    better="higher",
    ideal=1.0,
    floor=1e-2,
    limit=0.5,
    blind_to=("gain", "offset", "shift", "sign", "phase", "spike"),
    on_request=True,
)
def pitch_voicing(reference: Array, candidate: Array, sample_rate: float) -> float:
    """Return the share of frames of two waveforms that are voiced in both or in neither, from 0 to 1.

    Voicing is estimated by pYIN between 65 and 600 Hz. Blind to everything that keeps a waveform periodic, such as
    another pitch.
    """
    return voicing_agreement(_pitch(reference, sample_rate), _pitch(candidate, sample_rate))


def _pitch(values: Array, sample_rate: float) -> Array:
    """Return the pitch of all rows in hertz, 0 where a frame is unvoiced."""
    highest = min(HIGHEST_HZ, sample_rate / 4)
    if highest <= LOWEST_HZ:
        raise ValueError(
            f"pitch is sought from {LOWEST_HZ:g} Hz, which needs more than {sample_rate:g} samples a second"
        )
    # YIN compares a frame with itself one period later, so a frame holds two of the longest periods, and room.
    frame = 1 << math.ceil(math.log2(3 * sample_rate / LOWEST_HZ))
    found, _, _ = librosa().pyin(values, fmin=LOWEST_HZ, fmax=highest, sr=sample_rate, frame_length=frame)
    return np.nan_to_num(np.asarray(found))
