"""Audio of a run to look at and to listen to: spectrograms as PNG, waveforms as SVG, sound as WAV.

No plotting library: a few lines each. Levels are never changed: a gain must be heard.
"""

from __future__ import annotations

import base64
import hashlib
import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from markupsafe import Markup
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image

from parity.compare.evidence import MediaError, Pair, Samples, read_audio
from parity.record.run import RunRecord
from parity.report import cards
from parity.report.cards import Gallery
from parity.report.summary import Evidence
from parity.verdict import Verdict

Image2D = NDArray[np.float64]

BUDGET = 3_500_000
"""Bytes of pictures and sound in one page."""
EXCERPT = 12.0
COLUMNS, ROWS = 720, 144
LEVELS = 64
"""Colours of a picture: so few that it is small, and so many that no step is visible."""
RANGE = 80.0
"""Decibels from the loudest point to black."""
SWING = 9.0
"""Decibels of level difference at which its colour is full."""
FAINT = 15.0
"""Decibels above black below which a level difference is not heard, and over which its colour fades in."""

# Perceptually even from black to cream, and from blue over near-black to orange.
LOUDNESS = ("#07060e", "#1c1044", "#4f127b", "#812581", "#b5367a", "#e55064", "#fb8761", "#fec287", "#fcfdbf")
EITHER = ("#8fd0ff", "#3d8fdc", "#1f4f86", "#16181f", "#8a4312", "#e07f26", "#ffd08a")


@dataclass(frozen=True)
class Heard:
    """The card of an audio output.

    begin, length: in seconds; where the excerpt to listen to begins, and how long all of it is.
    excerpt: what part is heard, in words; empty for all of it.
    clips: the keys of the two sounds.
    pictures: the spectrograms as data, by name.
    """

    verdict: Verdict
    pair: Pair
    begin: float
    length: float
    excerpt: str
    clips: tuple[str, ...]
    pictures: dict[str, str]
    wave: Markup
    size: int


def gallery(record: RunRecord, evidence: Evidence, sounds: dict[str, str]) -> Gallery:
    """Return a card per audio output. Its sounds are added to `sounds`, each once: many share a reference."""
    outputs = partial(_outputs, sounds)
    return cards.gallery(record, evidence, BUDGET, outputs, missed=lambda verdict: not verdict.passed)


def _outputs(sounds: dict[str, str], verdict: Verdict, folder: Path) -> Iterator[tuple[str, str | Callable[[], Heard]]]:
    try:
        for pair in read_audio(folder):
            alike = np.array_equal(pair.reference, pair.candidate)
            same = f"{pair.output} is the reference, sample by sample"
            yield pair.output, same if alike else partial(_card, sounds, verdict, pair)
    except MediaError as error:
        yield "", str(error)


def _card(sounds: dict[str, str], verdict: Verdict, pair: Pair) -> Heard:
    begin, part = excerpt(pair)
    cut = len(part.reference) < len(pair.reference)
    heard = f"{begin:.1f} to {begin + len(part.reference) / pair.rate:.1f} s, where the two differ most" if cut else ""
    said = [wav(one, pair.rate) for one in (part.reference, part.candidate)]
    clips = tuple(hashlib.sha256(content).hexdigest()[:20] for content in said)
    new = {key: _data(content, "audio/wav") for key, content in zip(clips, said, strict=True) if key not in sounds}
    sounds |= new
    pictures, wave = spectra(pair), waveforms(pair)
    size = len(wave) + sum(map(len, (*pictures.values(), *new.values())))
    length = max(len(pair.reference), len(pair.candidate)) / pair.rate
    return Heard(verdict, pair, begin, length, heard, clips, pictures, wave, size)


def _data(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def excerpt(pair: Pair) -> tuple[float, Pair]:
    """Return the part to listen to, and where it begins: all of it, or where the two differ most."""
    wrong, size = np.square(_difference(pair), dtype=np.float64), int(EXCERPT * pair.rate)
    if len(wrong) <= size:
        return 0.0, pair
    total = np.concatenate([[0.0], np.cumsum(wrong)])
    begin = int(np.argmax(total[size:] - total[:-size]))
    part = slice(begin, begin + size)
    return begin / pair.rate, replace(pair, reference=pair.reference[part], candidate=pair.candidate[part])


def wav(signal: Samples, rate: int) -> bytes:
    """Return 16-bit PCM, clipped at full scale as a sound card would."""
    from scipy.io import wavfile  # takes a tenth of a second

    file = io.BytesIO()
    wavfile.write(file, rate, np.rint(np.clip(_finite(signal), -1, 1) * 32767).astype("<i2"))
    return file.getvalue()


def numbers(pair: Pair) -> dict[str, list[str]]:
    """Return the numbers that a picture cannot show exactly: of each side the cells of a table."""
    rows = {}
    for name, signal in (("Reference", pair.reference), ("Candidate", pair.candidate)):
        size = np.abs(_finite(signal))
        rows[name] = [
            f"{len(signal) / pair.rate:.3f} s ({len(signal)})",
            *(
                f"{_signed(db)} dB" if math.isfinite(db) else "silent"
                for db in (_level(signal), _db(float(size.max())))
            ),
            str(np.count_nonzero(size > 1)),
            str(np.count_nonzero(~np.isfinite(signal))),
        ]
    return rows


def levels(pair: Pair) -> str:
    """Return how loud the candidate and the difference are against the reference, in words."""
    below = _level(_difference(pair)) - _level(pair.reference)
    return f"B is {_signed(gain(pair))} dB against A; their difference is at {_signed(below)} dB against A."


def gain(pair: Pair) -> float:
    """Return how much louder the candidate is, in decibels."""
    heard, said = (float(np.linalg.norm(_finite(one).astype(float))) for one in (pair.candidate, pair.reference))
    return _db(heard / said) if said else math.inf if heard else 0.0


def _level(signal: Samples) -> float:
    """Return the level of a signal in decibels below full scale."""
    return _db(np.sqrt(np.mean(np.square(_finite(signal), dtype=np.float64))))


def _db(ratio: float) -> float:
    return float(20 * np.log10(ratio)) if ratio > 0 else -math.inf


def _signed(value: float) -> str:
    return f"{round(value, 2) + 0.0:+.2f}".replace("-", "−")


def _finite(signal: Samples) -> Samples:
    """Return the signal with silence in place of NaN and infinity, so that it can be drawn and played."""
    return np.nan_to_num(signal, nan=0.0, posinf=0.0, neginf=0.0)


def _whole(pair: Pair) -> list[Samples]:
    """Return the finite parts of reference and candidate, the shorter one followed by silence."""
    length = max(len(pair.reference), len(pair.candidate))
    return [np.pad(_finite(one), (0, length - len(one))) for one in (pair.reference, pair.candidate)]


def _difference(pair: Pair) -> Samples:
    reference, candidate = _whole(pair)
    return candidate - reference


def spectra(pair: Pair) -> dict[str, str]:
    """Return four pictures on one scale: reference, candidate, difference of levels, level of the difference."""
    reference, candidate, error = (_spectrogram(one, pair.rate) for one in (*_whole(pair), _difference(pair)))
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
    """Return the frequencies for the side of a spectrogram: label, and height as a percentage from the top."""
    marks = {"250": 250, "1k": 1000, "4k": 4000, "10k": 10000, "20k": 20000}
    return [(name, 100 - 100 * _mel(hz) / _mel(rate / 2)) for name, hz in marks.items() if hz < 0.47 * rate]


def _mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)


def _spectrogram(signal: Samples, rate: int) -> Image2D:
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


def _png(shares: Image2D, anchors: tuple[str, ...]) -> str:
    indices = np.rint(np.clip(shares, 0, 1) * (LEVELS - 1)).astype(np.uint8)
    colours = np.array([list(bytes.fromhex(anchor[1:])) for anchor in anchors])
    places = np.linspace(0, len(anchors) - 1, LEVELS)
    table = np.stack([np.interp(places, np.arange(len(anchors)), part) for part in colours.T], axis=1)
    image = Image.fromarray(indices, mode="P")
    image.putpalette(np.rint(table).astype(np.uint8).tobytes())
    file = io.BytesIO()
    image.save(file, "PNG")
    return _data(file.getvalue(), "image/png")


def waveforms(pair: Pair) -> Markup:
    """Return both signals as overlaid envelopes, with dashed lines at full scale and marks at non-finite values."""
    both, width, height = np.stack(_whole(pair)), 480, 96
    length = both.shape[1]
    both = np.pad(both, ((0, 0), (0, max(0, width - length))))
    starts = np.arange(width) * both.shape[1] // width
    scale = max(1e-6, float(np.abs(both).max())) * 1.05

    def line(name: str, x1: int, x2: int, y1: float, y2: float) -> str:
        return f'<line class="{name}" x1="{x1}" x2="{x2}" y1="{y1:.1f}" y2="{y2:.1f}"/>'

    def at(level: float) -> float:
        return height / 2 * (1 - level / scale)

    parts = [f'<svg class="wave" viewBox="0 0 {width} {height}" preserveAspectRatio="none" aria-hidden="true">']
    for name, signal in zip(("reference", "candidate"), both, strict=True):
        up = [f"{x},{at(value):.1f}" for x, value in enumerate(np.maximum.reduceat(signal, starts))]
        down = [f"{x},{at(value):.1f}" for x, value in enumerate(np.minimum.reduceat(signal, starts))]
        parts.append(f'<polygon class="{name}" points="{" ".join(up + down[::-1])}"/>')
    parts += [line("full-scale", 0, width, at(level), at(level)) for level in (1.0, -1.0) if scale > 1]
    wrong = {int(x * width / length) for x in np.flatnonzero(~np.isfinite(pair.candidate))}
    return Markup("".join([*parts, *(line("not-finite", x, x, 0, height) for x in sorted(wrong)), "</svg>"]))
