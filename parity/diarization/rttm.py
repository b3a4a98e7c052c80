"""RTTM, the text that turns are exchanged as: a line for each, of ten fields, times in seconds.

    SPEAKER meeting 1 12.340 0.560 <NA> <NA> anna <NA> <NA>

Strict: what would be read as something else than was meant is an error that names file, line and mend.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np

from parity.base import files
from parity.diarization.turns import Turns, checked, ordered

FIELDS = 10
LONGEST = 1e9
_COMMENT = ";;"


class RttmError(ValueError):
    """A file of turns that can't be taken at its word."""


def read(path: Path, recording: str = "", speakers: Sequence[str] = ()) -> dict[str, Turns]:
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        raise RttmError(f"{path}: there is no such file") from None
    except UnicodeDecodeError as error:
        raise RttmError(f"{path}: is not UTF-8 text: {error}") from None
    return parse(text, str(path), recording, speakers)


def parse(text: str, source: str, recording: str = "", speakers: Sequence[str] = ()) -> dict[str, Turns]:
    """Return the turns of each recording, in the order of time; `source` names the file in errors.

    Speakers are numbered in the order of `speakers`, or else, in each recording, by when they first speak.
    With `recording`, a line of any other recording is an error.
    """
    said: dict[str, list[tuple[float, float, str]]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith(_COMMENT):
            continue
        where = f"{source}: line {number}"
        of, begin, end, speaker = _turn(line.split(), where)
        if recording and of != recording:
            raise RttmError(f"{where} is of {of!r}, not of {recording!r}: keep each recording's turns in its own file")
        if speakers and speaker not in speakers:
            raise RttmError(f"{where}: nobody is called {speaker!r}; there are {', '.join(speakers)}")
        said.setdefault(of, []).append((begin, end, speaker))
    if not said:
        raise RttmError(f"{source}: holds no turn at all: a line of it is SPEAKER with nine more fields")
    return {of: _numbered(rows, speakers) for of, rows in said.items()}


def write(path: Path, recordings: Mapping[str, Turns]) -> None:
    files.write_atomically(path, render(recordings).encode())


def render(recordings: Mapping[str, Turns]) -> str:
    """Return the text of the file, to the millisecond; speakers are called s0, s1, … by their numbers.

    Args:
        recordings: The turns of each recording.
    """
    from pyannote.core import Annotation, Segment

    found = []
    for of, turns in recordings.items():
        if of.split() != [of]:
            raise RttmError(f"{of!r} can't be a name in RTTM, where blanks part the fields")
        annotation = Annotation(uri=of)
        for track, (begin, end, speaker) in enumerate(ordered(checked(turns)).tolist()):
            name, segment = f"s{speaker:.0f}", Segment(round(begin, 3), round(end, 3))
            if not segment:
                raise RttmError(f"the turn of {name} at {begin} s in {of} is shorter than a millisecond: leave it out")
            annotation[segment, track] = name
        found.append(annotation.to_rttm())
    return "".join(found)


def _turn(fields: list[str], where: str) -> tuple[str, float, float, str]:
    if fields[0] != "SPEAKER":
        raise RttmError(f"{where} is of the type {fields[0]!r}: leave out all but SPEAKER")
    if len(fields) != FIELDS:
        raise RttmError(f"{where} has {len(fields)} fields where {FIELDS} are expected: fill what is unknown with <NA>")
    begin, duration = (_seconds(fields[at], what, where) for at, what in ((3, "beginning"), (4, "duration")))
    if begin < 0:
        raise RttmError(f"{where}: the beginning is {begin}: a turn begins at 0 or later")
    if duration <= 0:
        raise RttmError(f"{where}: the duration is {duration}, not above 0: the fifth field is a length")
    # Added as decimals, 0.1 and 0.2 are 0.3.
    return fields[1], float(begin), float(begin + duration), fields[7]


def _seconds(field: str, what: str, where: str) -> Decimal:
    try:
        seconds = Decimal(field)
    except InvalidOperation:
        raise RttmError(f"{where}: the {what} is {field!r} where a number of seconds is expected") from None
    if not seconds.is_finite():
        raise RttmError(f"{where}: the {what} is {field!r}, which is not finite")
    if abs(seconds) > LONGEST:
        raise RttmError(f"{where}: the {what} is {field!r}, more seconds than any recording has")
    return seconds


def _numbered(rows: list[tuple[float, float, str]], speakers: Sequence[str]) -> Turns:
    arrived = dict.fromkeys(speaker for _, _, speaker in sorted(rows, key=lambda row: row[0]))
    numbers = {speaker: number for number, speaker in enumerate(speakers or arrived)}
    return ordered(np.array([(begin, end, numbers[speaker]) for begin, end, speaker in rows], np.float64))
