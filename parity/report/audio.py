"""The audio of a check, read from its evidence and made playable. Levels are never changed: a gain must be heard."""

from __future__ import annotations

import base64
import io
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

FILE = "audio.safetensors"
LARGEST = 512 * 2**20
RATES = range(4_000, 192_001)
EXCERPT = 12.0

Samples = NDArray[np.float32]


class AudioError(ValueError):
    """Evidence whose audio can't be trusted; the message names the file and the fault."""


@dataclass(frozen=True)
class Pair:
    """Audio of upstream and of the artifact, for one output."""

    output: str
    rate: int
    reference: Samples
    candidate: Samples


@dataclass(frozen=True)
class Levels:
    """A signal in numbers. Levels are decibels below full scale."""

    rms: float
    peak: float
    clipped: int
    not_finite: int


def read(folder: Path) -> list[Pair]:
    """Return every audio output of an evidence folder, if any."""
    path = folder / FILE
    if not path.exists():
        return []
    if path.stat().st_size > LARGEST:
        raise AudioError(f"{path} has {path.stat().st_size} bytes; more than {LARGEST} is not the audio of a check")
    try:
        with safe_open(path, framework="numpy") as file:
            rate = _rate(file.metadata() or {}, path)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise AudioError(f"{path} is damaged: {error}; delete it and run the check again") from error
    outputs = dict.fromkeys(name.rpartition(".")[0] for name in tensors)
    if not outputs:
        raise AudioError(f"{path} holds no tensor; delete it and run the check again")
    return [
        Pair(output, rate, _signal(tensors, f"{output}.reference", path), _signal(tensors, f"{output}.candidate", path))
        for output in outputs
    ]


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


def excerpt(pair: Pair, seconds: float = EXCERPT) -> tuple[float, Pair]:
    """Return the part to listen to, and where it begins: all of it, or where the two differ most."""
    length, size = max(len(pair.reference), len(pair.candidate)), int(seconds * pair.rate)
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


def _rate(metadata: dict[str, str], path: Path) -> int:
    said = metadata.get("sample_rate", "")
    if not said.isascii() or not said.isdigit() or len(said) > 6 or int(said) not in RATES:
        raise AudioError(f"{path}: sample_rate is {said!r} where {RATES[0]} to {RATES[-1]} is expected")
    return int(said)


def _signal(tensors: dict[str, NDArray[np.generic]], name: str, path: Path) -> Samples:
    if name not in tensors:
        raise AudioError(f"{path} lacks the tensor {name!r}; it has {', '.join(tensors)}")
    tensor = tensors[name]
    if tensor.dtype != np.float32 or tensor.ndim != 1 or not tensor.size:
        raise AudioError(f"{path}: {name!r} is {tensor.dtype} of shape {tensor.shape}, no float32 signal")
    return tensor.astype(np.float32)
