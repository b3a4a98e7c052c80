"""The meetings that goldens are recorded of: what is heard as FLAC, who speaks when as RTTM; see `make_cases`."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from parity.declarations import Case
from parity.diarization import rttm
from references.sortformer.speaking import RATE

ROOM = Path(__file__).parent / "recordings"
# Seconds that no block, chunk or frame ends with; the first is longer than NvidiaHigh's chunk.
MEETINGS = {"quartet": (4, 38.03, 70), "pair": (2, 20.05, 24)}
"""Number of speakers, seconds, and the seed: of such meetings one in which the model hears all of them."""
ABOUT = {"quartet": "four speakers, 38 s", "pair": "two speakers, 20 s"}


def case(name: str) -> Case:
    """Samples within ±1, and turns as rows of beginning, end (in seconds) and speaker, in the order of arrival."""
    audio, turns = _read(name)
    return Case(name, {"audio": audio.copy(), "turns": turns.copy()}, short=True, about=ABOUT[name])


@cache
def _read(name: str) -> tuple[np.ndarray, np.ndarray]:
    import soundfile

    samples, rate = soundfile.read(ROOM / f"{name}.flac", dtype="float32")
    if rate != RATE:
        raise ValueError(f"{name}.flac has {rate} samples a second, {RATE} are expected")
    return samples, rttm.read(ROOM / f"{name}.rttm")[name]
