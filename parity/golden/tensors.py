"""What the lock says of one case: every tensor at every seam, in the order of the data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from parity.base import fingerprint
from parity.base.distance import distance
from parity.golden.recording import Place, Recording, places
from parity.golden.sketch import RELATIVE_L2, ROOM, Statistics, Tolerance, exact, sha256, sketch

IN_GIT = 512 * 1024
"""Bytes up to which a tensor goes into git whole, if its case still has room."""
CASE_IN_GIT = 4 * IN_GIT
"""Bytes of whole tensors that one case may put into git; the smallest go first."""


@dataclass(frozen=True)
class Entry:
    """One tensor. Only one that is `in_git` is there whole; of any other, git has the sketch.

    `spread` is the relative L2 that rounding alone was measured to make.
    """

    shape: tuple[int, ...]
    dtype: str
    sha256: str
    statistics: Statistics
    in_git: bool
    spread: float = 0.0

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def bytes(self) -> int:
        return self.size * np.dtype(self.dtype).itemsize

    @staticmethod
    def of(array: np.ndarray, digest: str, spread: float = 0.0, room: int = IN_GIT, whole: bool = False) -> Entry:
        """A spread that the general tolerance covers is left out. `whole`: it goes into git, however large."""
        wide = float(f"{spread:.3g}") if spread * ROOM > RELATIVE_L2 else 0.0
        in_git = whole or array.nbytes <= min(room, IN_GIT)
        return Entry(array.shape, array.dtype.name, digest, Statistics.of(array), in_git, wide)


@dataclass(frozen=True)
class SeamEntry:
    stage: str
    inputs: Mapping[str, Entry]
    outputs: Mapping[str, Entry]


@dataclass(frozen=True)
class CaseEntry:
    """`inputs` are the hashes of the case's own inputs; `file_sha256` and `file_bytes` are of the file in git."""

    inputs: Mapping[str, str]
    seams: tuple[SeamEntry, ...]
    file_sha256: str = ""
    file_bytes: int = 0

    def places(self) -> Iterator[tuple[Place, Entry]]:
        return places((seam.stage, seam.inputs, seam.outputs) for seam in self.seams)

    def kept(self) -> Iterator[tuple[str, Entry]]:
        """Each tensor once, under the key that it has in the file in git: its first place."""
        seen: set[str] = set()
        for place, entry in self.places():
            if entry.sha256 not in seen:
                seen.add(entry.sha256)
                yield f"{'whole' if entry.in_git else 'sketch'}/{place}", entry

    def identity(self) -> str:
        """Of what was recorded from what, wherever it is stored."""
        truth = [[str(place), entry.sha256] for place, entry in self.places()]
        return fingerprint.digest({"inputs": dict(self.inputs), "truth": truth})

    @staticmethod
    def of(
        recording: Recording, inputs: Mapping[str, np.ndarray], spread: Mapping[str, float], whole: bool = False
    ) -> CaseEntry:
        """`whole`: git keeps every tensor."""
        known = {held.sha256: held.array for _, held in recording.places()}
        entries, room = {}, CASE_IN_GIT
        for digest, array in sorted(known.items(), key=lambda item: (item[1].nbytes, item[0])):
            entries[digest] = Entry.of(array, digest, spread.get(digest, 0.0), room, whole)
            room -= array.nbytes if entries[digest].in_git else 0
        return CaseEntry(
            hashes(inputs),
            tuple(
                SeamEntry(
                    seam.stage,
                    {name: entries[held.sha256] for name, held in seam.inputs.items()},
                    {name: entries[held.sha256] for name, held in seam.outputs.items()},
                )
                for seam in recording.seams
            ),
        )


def hashes(inputs: Mapping[str, np.ndarray]) -> dict[str, str]:
    return {name: sha256(np.asarray(array)) for name, array in inputs.items()}


def foreign(entry: Entry, kept: np.ndarray, array: np.ndarray) -> str:
    """Why a tensor is not the recorded one up to another machine's rounding, or nothing where it is.

    `kept` is what git has of it. The same bits are the same truth; so is a tensor of the same shape and dtype, with a
    sketch within 1e-3 relative L2, or twice the measured spread where that is more, and all statistics close.
    Whole numbers have to be equal, every one.
    """
    if array.shape != entry.shape or array.dtype.name != entry.dtype:
        was, now = f"{entry.dtype}{list(entry.shape)}", f"{array.dtype.name}{list(array.shape)}"
        return f"is {now} where {was} was recorded"
    if exact(array):
        return "" if sha256(array) == entry.sha256 else "has other whole numbers"
    apart = distance(kept, array if entry.in_git else sketch(array))
    tolerance = Tolerance.of(entry.spread)
    if not apart.relative_l2 <= tolerance.relative_l2:
        return f"relative L2 {apart.relative_l2:.3g} > {tolerance.relative_l2:.3g}"
    moved = entry.statistics.moved(Statistics.of(array), entry.size, tolerance)
    return f"statistics moved: {moved}" if moved else ""
