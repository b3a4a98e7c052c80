"""Protocol of a speaker encoder, which turns a voice into an embedding; the likeness of two embeddings."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from parity.speech.sound import Samples, Sound, SpeechError

Embedding = NDArray[np.float64]


class SpeakerEncoder(Protocol):
    """Any object with these. `about` says honestly what a likeness of two embeddings is worth; reports repeat it."""

    @property
    def name(self) -> str: ...

    @property
    def about(self) -> str: ...

    def embed(self, audio: Samples, rate: int) -> Any:
        """Return one vector for one recording, as an array of any float type."""
        ...


def embedding(encoder: SpeakerEncoder, spoken: Sound) -> Embedding:
    found = np.asarray(encoder.embed(spoken.samples, spoken.rate), np.float64).reshape(-1)
    if not found.size or not np.isfinite(found).all() or not found.any():
        raise SpeechError(f"encoder {encoder.name} gave no usable embedding for {spoken.name}: empty, NaN or all zeros")
    return found


def similarity(one: Embedding, other: Embedding) -> float:
    """Return the cosine: 1 for the same direction, 0 for nothing in common."""
    if one.shape != other.shape:
        raise SpeechError(f"embeddings of {one.size} and {other.size} numbers: they come from different encoders")
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))
