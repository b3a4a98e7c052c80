"""Turns in the evidence of a check: upstream's, the artifact's, and the truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from parity.diarization import rttm
from parity.diarization.rttm import RttmError
from parity.diarization.turns import Turns

LARGEST = 8 * 2**20
LONGEST = 86_400.0
"""Seconds: nothing that a check hears lasts a day."""
SPEAKERS = tuple(f"s{number}" for number in range(32))
"""As the evidence names them. Their number is the column of the output, in the truth the order of arrival."""


class MeetingError(ValueError):
    """Evidence whose turns can't be trusted; the message names the file and the fault."""


@dataclass(frozen=True)
class Meeting:
    """One output of a check. `truth` is None where the case doesn't know who really speaks."""

    reference: Turns
    candidate: Turns
    truth: Turns | None

    @property
    def agreed(self) -> bool:
        return np.array_equal(self.reference, self.candidate)

    @property
    def content(self) -> tuple[bytes | None, ...]:
        """Equal where all that is known is."""
        return tuple(None if one is None else one.tobytes() for one in (self.reference, self.candidate, self.truth))


def outputs(folder: Path) -> list[str]:
    """Return the outputs of which the evidence has turns."""
    ends = (".reference.rttm", ".candidate.rttm", ".truth.rttm")
    return sorted({path.name.removesuffix(end) for end in ends for path in folder.glob(f"*{end}")})


def read(folder: Path, output: str) -> Meeting:
    """Return the turns of one output; a file without lines is silence throughout."""
    truth = folder / f"{output}.truth.rttm"
    return Meeting(
        _turns(folder / f"{output}.reference.rttm", "reference"),
        _turns(folder / f"{output}.candidate.rttm", "candidate"),
        _turns(truth, "truth") if truth.exists() else None,
    )


def _turns(path: Path, role: str) -> Turns:
    if not path.is_file():
        raise MeetingError(f"{path} is missing or no file; delete the evidence and run the check again")
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise MeetingError(f"{path} has {size} bytes; more than {LARGEST} are not the turns of a check")
        found = rttm.read(path, role, SPEAKERS)[role] if size else np.zeros((0, 3))
    except (RttmError, OSError) as error:
        fault = str(error) if str(path) in str(error) else f"{path}: {error!r}"
        raise MeetingError(f"{fault}; delete it and run the check again") from error
    if len(found) and not found[:, 1].max() <= LONGEST:
        raise MeetingError(f"{path}: a turn ends at {found[:, 1].max():g} s; what a check hears lasts less than a day")
    return found
