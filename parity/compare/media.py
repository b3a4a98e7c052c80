"""Audio to listen to and turns to look at, kept with the evidence of a check: written and read here."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from parity.compare.outputs import Comparison
from parity.declarations import AUDIBLE
from parity.diarization import rttm
from parity.diarization.rttm import RttmError
from parity.diarization.turns import Turns, turns

AUDIO = "audio.safetensors"
LARGEST_AUDIO, LARGEST_TURNS = 512 * 2**20, 8 * 2**20
"""Bytes."""
RATES = range(4_000, 192_001)
LONGEST = 86_400.0
"""Seconds: nothing that a check hears lasts a day."""
SPEAKERS = tuple(f"s{number}" for number in range(32))
"""Names in the files of turns. The number is the column of the output, in the truth the order of arrival."""
REFERENCE, CANDIDATE, TRUTH = "reference", "candidate", "truth"

Samples = NDArray[np.float32]


class MediaError(ValueError):
    """Kept audio or turns that can't be trusted; the message names the file, the fault and the mend."""


@dataclass(frozen=True)
class Pair:
    """Upstream's audio and the artifact's, for one output."""

    output: str
    rate: int
    reference: Samples
    candidate: Samples


@dataclass(frozen=True)
class Meeting:
    """The turns of one output: upstream's, the artifact's, and the true ones, None where the case does not know."""

    reference: Turns
    candidate: Turns
    truth: Turns | None

    @property
    def agreed(self) -> bool:
        return np.array_equal(self.reference, self.candidate)

    @property
    def content(self) -> tuple[bytes | None, ...]:
        """The bytes of all turns: equal for meetings that are the same."""
        return tuple(None if one is None else one.tobytes() for one in (self.reference, self.candidate, self.truth))


def write(folder: Path, compared: Iterable[Comparison], sample_rate: int) -> None:
    """Keep the audio and the turns of every comparison in a folder.

    Args:
        folder: The folder of the evidence.
        compared: What the check compared.
        sample_rate: Samples per second of all audio.
    """
    heard: dict[str, np.ndarray] = {}
    for group in compared:
        for name, tensor in group.declared.items():
            if name not in group.actual or name not in group.reference:
                continue
            sides = {REFERENCE: group.reference[name], CANDIDATE: group.actual[name]}
            output = f"{group.prefix}{name}"
            if tensor.kind in AUDIBLE:
                for role, array in sides.items():
                    heard[f"{output}.{role}"] = np.ascontiguousarray(array, np.float32).reshape(-1)
            elif tensor.kind == "diarization" and tensor.rate and sides[CANDIDATE].ndim == 2:
                said = {role: turns(array > 0, tensor.rate) for role, array in sides.items()}
                for role, one in (said if group.turns is None else {**said, TRUTH: group.turns}).items():
                    rttm.write(folder / f"{output}.{role}.rttm", {role: one})
    if heard:
        save_file(heard, folder / AUDIO, metadata={"sample_rate": str(sample_rate)})


def read_audio(folder: Path) -> list[Pair]:
    """Return every audio output of an evidence folder; none where it holds no audio."""
    path = folder / AUDIO
    if not path.exists():
        return []
    if path.stat().st_size > LARGEST_AUDIO:
        raise MediaError(f"{path} has {path.stat().st_size} bytes; more than {LARGEST_AUDIO} is not audio of a check")
    try:
        with safe_open(path, framework="numpy") as file:
            said = (file.metadata() or {}).get("sample_rate", "")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise MediaError(f"{path} is damaged: {error}; delete it and run the check again") from error
    if not re.fullmatch("[0-9]{1,6}", said) or int(said) not in RATES:
        raise MediaError(f"{path}: sample_rate is {said!r} where {RATES[0]} to {RATES[-1]} is expected")
    outputs = dict.fromkeys(name.rpartition(".")[0] for name in tensors)
    if not outputs:
        raise MediaError(f"{path} holds no tensor; delete it and run the check again")

    def signal(name: str) -> Samples:
        if name not in tensors:
            raise MediaError(f"{path} lacks the tensor {name!r}; it has {', '.join(tensors)}")
        found: Samples = tensors[name]
        if found.dtype != np.float32 or found.ndim != 1 or not found.size:
            raise MediaError(f"{path}: {name!r} is {found.dtype} of shape {found.shape}, not a float32 signal")
        return found

    return [Pair(name, int(said), signal(f"{name}.{REFERENCE}"), signal(f"{name}.{CANDIDATE}")) for name in outputs]


def with_turns(folder: Path) -> list[str]:
    """Return the outputs of an evidence folder that have turns."""
    ends = tuple(f".{role}.rttm" for role in (REFERENCE, CANDIDATE, TRUTH))
    return sorted({path.name.removesuffix(end) for end in ends for path in folder.glob(f"*{end}")})


def read_meeting(folder: Path, output: str) -> Meeting:
    """Return the turns of one output. A file without any line is a recording in which nobody speaks."""

    def turns_of(role: str) -> Turns:
        path = folder / f"{output}.{role}.rttm"
        if not path.is_file():
            raise MediaError(f"{path} is missing or not a file; delete the evidence and run the check again")
        size = path.stat().st_size
        if size > LARGEST_TURNS:
            raise MediaError(f"{path} has {size} bytes; more than {LARGEST_TURNS} are not turns of a check")
        try:
            found = rttm.read(path, role, SPEAKERS)[role] if size else np.zeros((0, 3))
        except (RttmError, OSError) as error:
            raise MediaError(f"{error}; delete it and run the check again") from error
        if len(found) and found[:, 1].max() > LONGEST:
            raise MediaError(
                f"{path}: a turn ends at {found[:, 1].max():g} s; what a check hears lasts less than a day"
            )
        return found

    known = (folder / f"{output}.{TRUTH}.rttm").exists()
    return Meeting(turns_of(REFERENCE), turns_of(CANDIDATE), turns_of(TRUTH) if known else None)
