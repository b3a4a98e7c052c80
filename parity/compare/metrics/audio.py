"""Metrics of audio: its spectra, loudness, offset, shift, phase, clicks and pitch. Time is the last axis."""

from __future__ import annotations

import math
import warnings
from functools import cache

import numpy as np
from numpy.typing import NDArray

from parity.base.arithmetic import pearson, rms
from parity.base.libraries import librosa
from parity.compare.metrics.registry import AUDIO, Array, Fault, metric

WINDOW_SECONDS = 1024 / 24_000
HOP_SECONDS = 256 / 24_000
MEL_BANDS = 80
FLOOR_DB = -80.0
"""The level below the peak of the reference at which a band counts as silent."""
HIGHS = 1 / 3
"""The share of the sample rate from which the high band runs: from 8 kHz for audio of 24 kHz."""
NOTHING = 1e-12
"""A band with less than this share of all power holds nothing but the leakage of the others."""
FARTHEST = 4096
ROWS = 16
"""The number of rows that are aligned, those of most energy: what shifts a tensor shifts them all."""
CLEARLY = 1.1
"""A lag is taken over a smaller one only if that leaves this much more unexplained: a tone fits at every period."""
ROUNDING = 1e-12
PHASE_WINDOW = 512
EMPTY = 1e-6
"""A bin of the candidate under this share of the reference's magnitude, at equal loudness, has no phase."""
VOICED_HZ = 10.0
"""Above it a frame is voiced: the threshold of the harmonic source in HiFi-GAN's neural source filter and its heirs."""
FEWEST_FRAMES = 8
"""A correlation of fewer points says little: it is undefined."""
LOWEST_HZ, HIGHEST_HZ = 65.0, 600.0
"""The range of speech in which pitch is sought."""
PERIODIC: tuple[Fault, ...] = ("gain", "offset", "shift", "sign", "phase", "spike")
"""Faults that leave the periods of a waveform."""


def stft(values: Array, window: int, hop: int) -> NDArray[np.complex128]:
    """Return the spectra of all rows under a Hann window, as rows by bins by frames.

    Every sample lies under as many windows as any other: zeros surround the signal.

    Args:
        values: The signals, along the last axis.
        window: The length of the window, in samples.
        hop: The distance of two frames, in samples.
    """
    rows = values.reshape(-1, values.shape[-1])
    before = window - hop
    frames = -(-(rows.shape[1] + before) // hop)
    padded = np.pad(rows, ((0, 0), (before, frames * hop - rows.shape[1])))
    return np.asarray(librosa().stft(padded, n_fft=window, hop_length=hop, center=False))


def _power(values: Array, sample_rate: float) -> Array:
    """Return the power of all rows, as rows by bins by frames."""
    return np.square(np.abs(stft(values, _window(sample_rate), max(2, round(HOP_SECONDS * sample_rate)))))


def _window(sample_rate: float) -> int:
    return max(8, 2 * round(WINDOW_SECONDS * sample_rate / 2))


def _mel_power(values: Array, sample_rate: float) -> Array:
    """Return the power of all rows in each mel band, as rows by bands by frames."""
    return np.asarray(_mel_filters(sample_rate) @ _power(values, sample_rate))


@cache
def _mel_filters(sample_rate: float) -> Array:
    """Return triangles, evenly spaced in HTK's mel scale from 0 to half the rate, as bands by bins."""
    with warnings.catch_warnings():
        # At a low rate the lowest bands lie between two bins. They are silent for reference and candidate alike.
        warnings.filterwarnings("ignore", "Empty filters", UserWarning)
        found = librosa().filters.mel(
            sr=sample_rate, n_fft=_window(sample_rate), n_mels=MEL_BANDS, htk=True, norm=None, dtype=np.float64
        )
    return np.asarray(found)


def _decibels(power: Array, floor: float) -> Array:
    """Return power in decibels, no lower than a floor."""
    return np.asarray(10 * np.log10(np.maximum(power, floor)))


@metric(kinds=AUDIO, better="lower", floor=1e-2, limit=6.0, unit="dB", blind_to=("shift", "sign"))
def log_mel_distance(reference: Array, candidate: Array, sample_rate: float) -> float:
    """Return the mean difference of the mel bands in decibels, gain included, from 0 up.

    Counts the bands that either sounds in, within 80 dB of the reference's peak. Blind to sign, to a shift much shorter
    than a window, and weakly to phase.
    """
    expected, actual = _mel_power(reference, sample_rate), _mel_power(candidate, sample_rate)
    floor = float(expected.max()) * 10 ** (FLOOR_DB / 10)
    sounding = np.maximum(expected, actual) > floor
    if not floor or not sounding.any():
        return math.nan
    return float(np.abs(_decibels(actual, floor) - _decibels(expected, floor))[sounding].mean())


@metric(kinds=AUDIO, better="higher", floor=1e-4, blind_to=("gain", "shift", "sign", "phase"))
def mel_correlation(reference: Array, candidate: Array, sample_rate: float) -> float:
    """Return the correlation of the mel bands in decibels, from -1 to 1: whether both sound alike, at any loudness.

    Each within 80 dB of its own peak. Blind to gain and sign, and to what keeps magnitudes.
    """
    levels = []
    for values in (reference, candidate):
        bands = _mel_power(values, sample_rate)
        peak = float(bands.max())
        if not peak:
            return math.nan
        levels.append(_decibels(bands / peak, 10 ** (FLOOR_DB / 10)))
    return pearson(*levels)


@metric(kinds=AUDIO, better="near", floor=1e-1, limit=6.0, unit="dB", blind_to=("offset", "shift", "sign", "phase"))
def high_band_power(reference: Array, candidate: Array, sample_rate: float) -> float:
    """Return the power above a third of the sample rate over the reference's, in decibels: hiss, or lost highs.

    Blind to everything below that band. NaN where either has nothing in it.
    """
    expected, actual = (_highs(values, sample_rate) for values in (reference, candidate))
    return 10 * math.log10(actual / expected) if expected and actual else math.nan


def _highs(values: Array, sample_rate: float) -> float:
    bins = _power(values - values.mean(axis=-1, keepdims=True), sample_rate).sum(axis=(0, 2))
    high = float(bins[math.ceil(HIGHS * 2 * (len(bins) - 1)) :].sum())
    return high if high > NOTHING * float(bins.sum()) else 0.0


# A missing window normalisation is 3.5 dB.
@metric(kinds=AUDIO, better="near", floor=1e-2, limit=3.0, unit="dB", blind_to=("shift", "sign", "order", "phase"))
def gain_db(reference: Array, candidate: Array) -> float:
    """Return the loudness of the candidate over the reference's, in decibels.

    The rms ratio on the scale of hearing, and as blind: a missing window normalisation of 1.5 reads +3.5 dB. NaN where
    either is silent.
    """
    expected, actual = rms(reference), rms(candidate)
    return 20 * math.log10(actual / expected) if expected and actual else math.nan


@metric(
    kinds=AUDIO,
    better="lower",
    floor=1e-4,
    blind_to=("gain", "shift", "sign", "order", "phase", "half", "zeros", "spike"),
)
def dc_offset(reference: Array, candidate: Array) -> float:
    """Return the distance of the two means over the rms of the reference, from 0 up.

    Sees the mean of all values and nothing else: offsets of channels that cancel are not seen.
    """
    expected = rms(reference)
    return abs(float(candidate.mean()) - float(reference.mean())) / expected if expected else math.nan


@metric(
    kinds=AUDIO,
    better="near",
    floor=0.0,
    limit=64.0,
    unit="steps",
    blind_to=("gain", "offset", "sign", "order", "half", "spike"),
)
def shift(reference: Array, candidate: Array) -> float:
    """Return the steps by which the candidate comes late along the last axis, below 0 early, where it aligns best.

    Searches up to a quarter of the length, and up to 4096 steps. Blind to whatever no shift explains: two arrays that
    have nothing in common read 0. NaN where there is nothing to align.
    """
    found = best_lag(reference, candidate)
    return math.nan if found is None else float(found)


# Chance is π/2.
@metric(kinds=AUDIO, better="lower", floor=1e-3, limit=1.5, unit="rad", blind_to=("gain", "offset", "spike"))
def phase_error(reference: Array, candidate: Array) -> float:
    """Return the mean distance of the phases of short-time spectra, weighted with the reference's energy, from 0 to π.

    0 is in phase, π/2 what chance gives, π a flipped sign. A bin that the candidate leaves empty counts as chance.
    Blind to gain, to a constant offset, and to magnitudes in general; weakly to single values.
    """
    window = min(PHASE_WINDOW, reference.shape[-1])
    loudness = math.sqrt(float(np.vdot(candidate, candidate) / np.vdot(reference, reference)))
    if not loudness:
        return math.nan
    r, c = (
        stft(values - values.mean(axis=-1, keepdims=True), window, max(1, window // 2))
        for values in (reference, candidate)
    )
    energy = np.square(r.real) + np.square(r.imag)
    cross = c * r.conj()
    empty = np.square(cross.real) + np.square(cross.imag) < np.square(EMPTY * loudness * energy)
    apart = np.where(empty, math.pi / 2, np.abs(np.arctan2(cross.imag, cross.real)))
    weights = float(energy.sum())
    return float(np.vdot(energy, apart)) / weights if weights > 0 else math.nan


@metric(kinds=("stream",), better="lower", floor=1e-3, limit=1.0, blind_to=("offset",))
def click(reference: Array, candidate: Array) -> float:
    """Return the largest step of the error between two samples over the reference's own largest step, from 0 up.

    Where the frames of a stream don't join, the error jumps, however small the frames' own errors are.
    """
    steps = [float(np.abs(np.diff(values, axis=-1)).max(initial=0.0)) for values in (reference, candidate - reference)]
    return steps[1] / steps[0] if steps[0] else math.nan


def best_lag(reference: Array, candidate: Array) -> int | None:
    """Return the smallest lag that explains the candidate about as well as any; None if there is nothing to align."""
    from scipy import fft  # takes a third of a second

    length = reference.shape[-1]
    farthest = min(FARTHEST, length // 4)
    r, c = loudest_rows(reference, reference, candidate)
    r, c = r - r.mean(axis=-1, keepdims=True), c - c.mean(axis=-1, keepdims=True)
    if not farthest or not r.any() or not c.any():
        return None
    lags = np.arange(-farthest, farthest + 1)
    size = fft.next_fast_len(length + farthest, real=True)
    cross = (fft.rfft(c, size) * fft.rfft(r, size).conj()).sum(axis=0)
    products = fft.irfft(cross, size)[lags]
    energy = _overlap(r, -lags) * _overlap(c, lags)
    explained = np.divide(np.square(products), energy, out=np.zeros(len(lags)), where=energy > 0)
    unexplained = np.maximum(0.0, 1 - explained)
    enough = unexplained <= CLEARLY * unexplained.min() + ROUNDING
    return int(min(lags[enough], key=lambda lag: (abs(lag), lag)))


def loudest_rows(measured: Array, reference: Array, candidate: Array) -> tuple[Array, Array]:
    """Return the rows of both in which a third array has most energy: few enough to look at closely."""
    m, r, c = (values.reshape(-1, values.shape[-1]) for values in (measured, reference, candidate))
    if len(m) <= ROWS:
        return r, c
    loudest = np.argsort(-np.einsum("ij,ij->i", m, m), kind="stable")[:ROWS]
    return r[loudest], c[loudest]


def _overlap(rows: Array, lags: np.ndarray) -> Array:
    """Return the energy left of rows once so many steps are cut from their beginning, or below 0 from their end."""
    until = np.concatenate([[0.0], np.cumsum(np.einsum("ij,ij->j", rows, rows))])
    length = len(until) - 1
    return np.asarray(until[np.minimum(length, length + lags)] - until[np.maximum(0, lags)])


@metric(kinds=("pitch",), better="higher", floor=1e-4, blind_to=("gain", "offset", "half"))
def f0_correlation(reference: Array, candidate: Array) -> float:
    """Return the correlation of two pitch curves over the frames that both voice, from -1 to 1.

    Blind to a transposed voice (gain), to a raised one (offset) and to frames that only one of them voices: gate it
    together with the voicing agreement and a metric of scale. NaN for fewer than eight such frames.
    """
    both = (reference > VOICED_HZ) & (candidate > VOICED_HZ)
    if both.sum() < FEWEST_FRAMES:
        return math.nan
    return pearson(reference[both], candidate[both])


@metric(kinds=("pitch",), better="higher", floor=0.0, blind_to=("gain", "spike"))
def voicing_agreement(reference: Array, candidate: Array) -> float:
    """Return the share of frames of two pitch curves that are voiced in both or in neither, from 0 to 1.

    Blind to the pitch itself, as long as it stays above the threshold.
    """
    return float(np.mean((reference > VOICED_HZ) == (candidate > VOICED_HZ)))


@metric(kinds=AUDIO, better="higher", floor=1e-2, blind_to=(*PERIODIC, "half"), on_request=True)
def pitch_correlation(reference: Array, candidate: Array, sample_rate: float) -> float:
    """Return the correlation of the pitch of two waveforms over the frames that both voice, from -1 to 1.

    Pitch is estimated by pYIN between 65 and 600 Hz. Blind to everything that keeps the periods of the waveform, and
    to frames that only one of them voices. NaN for fewer than eight voiced frames.
    """
    return f0_correlation(_pitch(reference, sample_rate), _pitch(candidate, sample_rate))


@metric(kinds=AUDIO, better="higher", floor=1e-2, blind_to=PERIODIC, on_request=True)
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
