"""All tensors of one run of the reference: taken from it, kept in a folder, read back without copying."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from parity.declarations import Arrays, Case, Reference, Seam
from parity.golden.errors import DamagedGolden, UnusableRecording
from parity.golden.names import key
from parity.golden.sketch import DTYPES, sha256

_INDEX = "recording.json"
_MEND = "have the reference's record() yield what upstream really computes there"
T = TypeVar("T")


@dataclass(frozen=True)
class Held:
    sha256: str
    array: np.ndarray


@dataclass(frozen=True)
class HeldSeam:
    stage: str
    inputs: Mapping[str, Held]
    outputs: Mapping[str, Held]

    def plain(self) -> Seam:
        inputs = {name: held.array for name, held in self.inputs.items()}
        return Seam(self.stage, inputs, {name: held.array for name, held in self.outputs.items()})


@dataclass(frozen=True)
class Place:
    """Where a tensor stood. A stage that was crossed again counts: `step`, `step@2`, …"""

    seam: str
    side: str
    name: str

    def __str__(self) -> str:
        return f"{self.seam}/{self.side}/{self.name}"


@dataclass(frozen=True)
class Recording:
    seams: tuple[HeldSeam, ...]

    def places(self) -> Iterator[tuple[Place, Held]]:
        """In the order of the data."""
        return places((seam.stage, seam.inputs, seam.outputs) for seam in self.seams)


def places(seams: Iterable[tuple[str, Mapping[str, T], Mapping[str, T]]]) -> Iterator[tuple[Place, T]]:
    counts: dict[str, int] = {}
    for stage, inputs, outputs in seams:
        counts[stage] = counts.get(stage, 0) + 1
        label = stage if counts[stage] == 1 else f"{stage}@{counts[stage]}"
        for side, tensors in (("inputs", inputs), ("outputs", outputs)):
            for name, tensor in tensors.items():
                yield Place(label, side, name), tensor


def record(reference: Reference, model: Any, case: Case) -> Recording:
    """Runs the reference on a case. Copies at once: the model may write into its buffers again."""
    where = f"{reference.name}, case {case.name}"
    arrays: dict[str, Held] = {}

    def hold(stage: str, side: str, tensors: Arrays) -> dict[str, Held]:
        held = {}
        for name, array in tensors.items():
            place = f"{where}: {key('stage', stage)}/{side}/{key('tensor', name)}"
            fault = _unusable(array, output=side == "outputs")
            if fault:
                raise UnusableRecording(place, fault, _MEND)
            digest = sha256(array)
            if digest not in arrays:
                arrays[digest] = Held(digest, _frozen(np.array(array, array.dtype.newbyteorder("="), order="C")))
            held[name] = arrays[digest]
        return held

    seams = []
    for seam in reference.record(model, case):
        if not seam.inputs or not seam.outputs:
            side = "outputs" if seam.inputs else "inputs"
            raise UnusableRecording(where, f"stage {seam.stage} has no {side}", _MEND)
        inputs = hold(seam.stage, "inputs", seam.inputs)
        seams.append(HeldSeam(seam.stage, inputs, hold(seam.stage, "outputs", seam.outputs)))
    if not seams:
        raise UnusableRecording(where, "record() yields no seam at all", _MEND)
    return Recording(tuple(seams))


def _unusable(array: object, output: bool) -> str:
    if not isinstance(array, np.ndarray):
        return f"is a {type(array).__name__} where a numpy array is expected"
    if array.dtype.name not in DTYPES:
        return f"has dtype {array.dtype}; known are {', '.join(DTYPES)}"
    if not array.size:
        return f"has no elements (shape {list(array.shape)}), and nothing can be compared with nothing"
    if output and array.dtype.kind == "f":
        bad = array.size - int(np.isfinite(array).sum())
        if bad:
            return f"{bad} of {array.size} values are NaN or infinite"
        if array.size > 1 and array.min() == array.max():
            return f"all {array.size} values are {array.flat[0]:g}, so that a dead stage would pass for it"
    return ""


def write(recording: Recording, folder: Path) -> None:
    index = [
        {
            "stage": seam.stage,
            "inputs": {name: held.sha256 for name, held in seam.inputs.items()},
            "outputs": {name: held.sha256 for name, held in seam.outputs.items()},
        }
        for seam in recording.seams
    ]
    for digest, array in {held.sha256: held.array for _, held in recording.places()}.items():
        np.save(folder / f"{digest}.npy", array, allow_pickle=False)
    (folder / _INDEX).write_text(json.dumps(index, indent=1) + "\n")


def read(folder: Path) -> Recording:
    """Maps the files into memory, and checks that each tensor is the one that its file name promises."""
    try:
        return _read(folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedGolden(folder, f"the recording is damaged: {error}", "remove this folder") from error


def _read(folder: Path) -> Recording:
    arrays: dict[str, Held] = {}

    def held(digest: str) -> Held:
        if digest not in arrays:
            if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
                raise ValueError(f"{digest!r} is no sha256")
            # Private to this process: what writes to it changes neither the file nor anyone else's golden.
            mapped = np.load(folder / f"{digest}.npy", mmap_mode="c", allow_pickle=False)
            array = _frozen(np.asarray(mapped).view(np.ndarray))
            if sha256(array) != digest:
                raise ValueError(f"{digest}.npy holds another tensor")
            arrays[digest] = Held(digest, array)
        return arrays[digest]

    return Recording(
        tuple(
            HeldSeam(
                key("stage", seam["stage"]),
                {name: held(digest) for name, digest in seam["inputs"].items()},
                {name: held(digest) for name, digest in seam["outputs"].items()},
            )
            for seam in json.loads((folder / _INDEX).read_text())
        )
    )


def _frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array
