"""The audio of a check, made playable. Levels are never changed: a gain must be heard."""

from __future__ import annotations

import base64
import io
import wave
from dataclasses import dataclass

import numpy as np

from parity.compare.media import Pair, Samples

EXCERPT = 12.0


@dataclass(frozen=True)
class Levels:
    """A signal in numbers. Levels are decibels below full scale."""

    rms: float
    peak: float
    clipped: int
    not_finite: int


def levels(signal: Samples) -> Levels:
    finite = finite_part(signal)
    return Levels(
        rms=decibels(float(np.sqrt(np.mean(np.square(finite, dtype=np.float64)))) if finite.size else 0.0),
        peak=decibels(float(np.abs(finite).max(initial=0.0))),
        clipped=int(np.count_nonzero(np.abs(finite) > 1)),
        not_finite=int(np.count_nonzero(~np.isfinite(signal))),
    )


def decibels(ratio: float) -> float:
    return float(20 * np.log10(ratio)) if ratio > 0 else -np.inf


def finite_part(signal: Samples) -> Samples:
    """Return the signal with silence in place of NaN and infinity, so that it can be drawn and played."""
    return np.nan_to_num(signal, nan=0.0, posinf=0.0, neginf=0.0)


def wav(signal: Samples, rate: int) -> bytes:
    """Return 16-bit PCM, clipped at full scale as a sound card would."""
    pcm = np.rint(np.clip(finite_part(signal), -1, 1) * 32767).astype("<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(pcm.tobytes())
    return file.getvalue()


def excerpt(pair: Pair) -> tuple[float, Pair]:
    """Return the part to listen to, and where it begins: all of it, or where the two differ most."""
    length, size = max(len(pair.reference), len(pair.candidate)), int(EXCERPT * pair.rate)
    if length <= size:
        return 0.0, pair
    wrong = np.square(difference(pair), dtype=np.float64)
    total = np.concatenate([[0.0], np.cumsum(wrong)])
    begin = int(np.argmax(total[size:] - total[:-size]))
    return begin / pair.rate, Pair(
        pair.output, pair.rate, pair.reference[begin : begin + size], pair.candidate[begin : begin + size]
    )


def difference(pair: Pair) -> Samples:
    """Return candidate minus reference; the shorter one is followed by silence."""
    length = max(len(pair.reference), len(pair.candidate))
    result = np.zeros(length, np.float32)
    result[: len(pair.candidate)] += finite_part(pair.candidate)
    result[: len(pair.reference)] -= finite_part(pair.reference)
    return result


def data_uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
