"""The audio of a check, made visible and playable: spectrograms as PNG, waveforms as SVG, sound as WAV.

No plotting library: a few lines each. Levels are never changed: a gain must be heard.
"""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image

from parity.compare.evidence import Pair, Samples

Image2D = NDArray[np.float64]

EXCERPT = 12.0
COLUMNS, ROWS = 720, 144
LEVELS = 64
RANGE = 80.0
"""Decibels from the loudest point to black."""
SWING = 9.0
"""Decibels of level difference at which its colour is full."""
FAINT = 15.0
"""Decibels above black below which a level difference is not heard, and over which its colour fades in."""

# Perceptually even from black to cream, and from blue over near-black to orange.
LOUDNESS = ("#07060e", "#1c1044", "#4f127b", "#812581", "#b5367a", "#e55064", "#fb8761", "#fec287", "#fcfdbf")
EITHER = ("#8fd0ff", "#3d8fdc", "#1f4f86", "#16181f", "#8a4312", "#e07f26", "#ffd08a")


def rms(signal: Samples) -> float:
    """Return the level of a signal in decibels below full scale."""
    return decibels(float(np.sqrt(np.mean(np.square(finite_part(signal), dtype=np.float64)))) if signal.size else 0.0)


def decibels(ratio: float) -> float:
    return float(20 * np.log10(ratio)) if ratio > 0 else -np.inf


def finite_part(signal: Samples) -> Samples:
    """Return the signal with silence in place of NaN and infinity, so that it can be drawn and played."""
    return np.nan_to_num(signal, nan=0.0, posinf=0.0, neginf=0.0)


def wav(signal: Samples, rate: int) -> bytes:
    """Return 16-bit PCM, clipped at full scale as a sound card would."""
    from scipy.io import wavfile  # takes a tenth of a second

    pcm = np.rint(np.clip(finite_part(signal), -1, 1) * 32767).astype("<i2")
    file = io.BytesIO()
    wavfile.write(file, rate, pcm)
    return file.getvalue()


def excerpt(pair: Pair) -> tuple[float, Pair]:
    """Return the part to listen to, and where it begins: all of it, or where the two differ most."""
    wrong, size = np.square(difference(pair), dtype=np.float64), int(EXCERPT * pair.rate)
    if len(wrong) <= size:
        return 0.0, pair
    total = np.concatenate([[0.0], np.cumsum(wrong)])
    begin = int(np.argmax(total[size:] - total[:-size]))
    part = slice(begin, begin + size)
    return begin / pair.rate, replace(pair, reference=pair.reference[part], candidate=pair.candidate[part])


def difference(pair: Pair) -> Samples:
    """Return candidate minus reference; the shorter one is followed by silence."""
    reference, candidate = whole(pair)
    return candidate - reference


def whole(pair: Pair) -> list[Samples]:
    """Return the finite parts of reference and candidate, the shorter one followed by silence."""
    length = max(len(pair.reference), len(pair.candidate))
    return [np.pad(finite_part(one), (0, length - len(one))) for one in (pair.reference, pair.candidate)]


def data_uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def spectrogram(signal: Samples, rate: int) -> Image2D:
    """Return power in decibels in mel-spaced rows, the highest on top."""
    hop = max(64, -(-len(signal) // COLUMNS))
    size = max(1024, 1 << (hop - 1).bit_length())
    frames = max(1, -(-len(signal) // hop))
    padded = np.zeros((frames - 1) * hop + size)
    padded[size // 2 : size // 2 + len(signal)] = signal[: len(padded) - size // 2]
    # Not the transform of the metrics: that is librosa's, whose import takes longer than all pictures of a page.
    window = np.hanning(size + 1)[:-1]
    power = np.square(np.abs(np.fft.rfft(sliding_window_view(padded, size)[::hop] * window)) / (size / 2)).T
    hertz = 700 * (10 ** (np.linspace(0, _mel(rate / 2), ROWS + 1) / 2595) - 1)
    edges = np.rint(hertz / (rate / 2) * (power.shape[0] - 1)).astype(int)
    rows = [power[low : max(high, low + 1)].mean(axis=0) for low, high in pairwise(edges)]
    result: Image2D = 10 * np.log10(np.maximum(np.stack(rows[::-1]), 1e-16))
    return result


def spectra(pair: Pair) -> dict[str, bytes]:
    """Return four pictures on one scale: reference, candidate, difference of levels, level of the difference."""
    reference, candidate, error = (spectrogram(one, pair.rate) for one in (*whole(pair), difference(pair)))
    top = max(float(reference.max()), float(candidate.max()), -120.0)
    floor = top - RANGE
    change = np.maximum(candidate, floor) - np.maximum(reference, floor)
    heard = np.clip((np.maximum(reference, candidate) - floor - FAINT) / FAINT, 0, 1)
    return {
        "reference": _png((reference - floor) / RANGE, LOUDNESS),
        "candidate": _png((candidate - floor) / RANGE, LOUDNESS),
        "level": _png(heard * change / (2 * SWING) + 0.5, EITHER),
        "error": _png((error - floor) / RANGE, LOUDNESS),
    }


def ticks(rate: int) -> list[tuple[str, float]]:
    """Return the frequencies for the side of a spectrogram: label, and height as a share from the top."""
    marks = [hertz for hertz in (250, 1000, 4000, 10000, 20000) if hertz < 0.47 * rate]
    return [
        (f"{hertz / 1000:g}k" if hertz >= 1000 else str(hertz), 1 - _mel(hertz) / _mel(rate / 2)) for hertz in marks
    ]


def waveforms(pair: Pair, columns: int = 480, height: int = 96) -> str:
    """Return both signals as overlaid envelopes, with dashed lines at full scale and marks at non-finite values."""
    both = [_envelope(signal, columns) for signal in whole(pair)]
    length = max(len(pair.reference), len(pair.candidate))
    scale = max(1e-6, *(float(np.abs(ends).max()) for ends in both)) * 1.05
    middle = height / 2
    parts = [f'<svg class="wave" viewBox="0 0 {columns} {height}" preserveAspectRatio="none" aria-hidden="true">']
    for name, (low, high) in zip(("reference", "candidate"), both, strict=True):
        up = [f"{x},{middle - value / scale * middle:.1f}" for x, value in enumerate(high)]
        down = [f"{x},{middle - value / scale * middle:.1f}" for x, value in reversed(list(enumerate(low)))]
        parts.append(f'<polygon class="{name}" points="{" ".join(up + down)}"/>')
    for level in (1.0, -1.0) if scale > 1 else ():
        y = f"{middle - level / scale * middle:.1f}"
        parts.append(f'<line class="full-scale" x1="0" x2="{columns}" y1="{y}" y2="{y}"/>')
    for x in sorted({int(at * columns / length) for at in np.flatnonzero(~np.isfinite(pair.candidate))}):
        parts.append(f'<line class="not-finite" x1="{x}" x2="{x}" y1="0" y2="{height}"/>')
    return "".join([*parts, "</svg>"])


def gain(pair: Pair) -> float:
    """Return how much louder the candidate is, in decibels."""
    powers = [float(np.sum(np.square(finite_part(s), dtype=np.float64))) for s in (pair.candidate, pair.reference)]
    return decibels(float(np.sqrt(powers[0] / powers[1]))) if powers[1] else float("inf" if powers[0] else 0)


def _mel(hertz: float) -> float:
    return 2595 * float(np.log10(1 + hertz / 700))


def _envelope(signal: Samples, columns: int) -> tuple[Samples, Samples]:
    padded = np.pad(signal, (0, max(0, columns - len(signal))))
    starts = np.arange(columns) * len(padded) // columns
    return np.minimum.reduceat(padded, starts), np.maximum.reduceat(padded, starts)


def _png(shares: Image2D, anchors: tuple[str, ...]) -> bytes:
    """Return a picture with so few levels that it is small, and so many that no step is visible."""
    indices = np.rint(np.clip(shares, 0, 1) * (LEVELS - 1)).astype(np.uint8)
    colours = np.array([[int(anchor[at : at + 2], 16) for at in (1, 3, 5)] for anchor in anchors])
    places = np.linspace(0, len(anchors) - 1, LEVELS)
    table = np.stack([np.interp(places, np.arange(len(anchors)), colours[:, part]) for part in range(3)], axis=1)
    image = Image.fromarray(indices, mode="P")
    image.putpalette(np.rint(table).astype(np.uint8).tobytes())
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
