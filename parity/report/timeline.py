"""Timeline of a meeting as SVG: for each speaker, when upstream, the artifact and the truth have them speak.

Time is a share of the width, so that it fits every window.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from parity.compare.evidence import SPEAKERS, Meeting
from parity.diarization import stretches
from parity.diarization.stretches import Stretches
from parity.diarization.turns import Turns
from parity.report.markup import Markup, join, tag

COLUMNS = 1000
"""Columns of the figure. Anything narrower than one is drawn that wide, and a gap like that not at all."""
NARROWEST = 4
"""Columns that a difference takes at least: it must be found."""
TICKS = 8
STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14_400)
NAMES = {"truth": "truth", "reference": "upstream", "candidate": "artifact"}

_LANES = {"truth": 7, "reference": 11, "candidate": 11}
_PITCH, _HALF, _SPACE, _AXIS = 16, 8, 12, 20
_GUTTER = 104


@dataclass(frozen=True)
class Band:
    """One speaker. `real` is what the truth calls them, empty where it has nobody like that."""

    name: str
    reference: Stretches
    candidate: Stretches
    truth: Stretches | None
    real: str = ""

    @cached_property
    def missed(self) -> Stretches:
        return stretches.without(self.reference, self.candidate)

    @cached_property
    def invented(self) -> Stretches:
        return stretches.without(self.candidate, self.reference)


def bands(meeting: Meeting) -> list[Band]:
    """Return a band for each column in which anybody speaks, then those of speakers whom only the truth knows.

    The truth has its own numbers for speakers. Each is assigned to the column of upstream's with most shared time.
    """
    columns = _speakers(meeting.reference, meeting.candidate)
    real = {} if meeting.truth is None else {one: stretches.of(meeting.truth, one) for one in _speakers(meeting.truth)}
    said = {column: stretches.of(meeting.reference, column) for column in columns}
    whose = _fitting(said, real)
    found = []
    for column in columns:
        one = whose.get(column)
        truth = None if meeting.truth is None else stretches.NONE if one is None else real[one]
        heard = stretches.of(meeting.candidate, column)
        found.append(Band(SPEAKERS[column], said[column], heard, truth, "" if one is None else SPEAKERS[one]))
    left = [one for one in real if one not in whose.values()]
    return found + [Band("–", stretches.NONE, stretches.NONE, real[one], SPEAKERS[one]) for one in left]


def lasts(shown: Sequence[Band]) -> float:
    """Return the seconds to the end of the last turn."""
    rows = [part for one in shown for part in (one.reference, one.candidate, one.truth) if part is not None]
    return max((float(part[-1, 1]) for part in rows if len(part)), default=0.0)


def timeline(shown: Sequence[Band], begin: float, end: float) -> Markup:
    """Return a band for each speaker, with a lane for differences between artifact and upstream.

    False alarms lie above the lane's line; missed speech lies below it, striped.
    """
    names: list[Markup] = []
    drawn: list[Markup] = []
    top = 4
    for one in shown:
        label, lanes, height = _band(one, begin, end, top)
        names.append(label)
        drawn.append(lanes)
        top += height + _SPACE
    bottom = top - _SPACE + 6
    size = bottom + _AXIS
    about = f"Who speaks when, from {begin:.0f} to {end:.0f} s"
    return tag(
        "div",
        tag("svg", *names, class_="names", width=_GUTTER, height=size, aria_hidden="true"),
        tag("svg", *_axis(begin, end, bottom), *drawn, class_="lanes", height=size, role="img", aria_label=about),
        class_="timeline",
    )


def ticks(begin: float, end: float) -> list[float]:
    """Round times between two others, few enough to be read."""
    step = next((step for step in STEPS if (end - begin) / step <= TICKS), STEPS[-1])
    return [step * count for count in range(math.ceil(begin / step), math.floor(end / step) + 1)]


def _speakers(*turns: Turns) -> list[int]:
    return sorted({int(speaker) for one in turns for speaker in one[:, 2]})


def _fitting(said: dict[int, Stretches], real: dict[int, Stretches]) -> dict[int, int]:
    """Return the real speaker of each column, so that the shared time is as long as possible."""
    time = np.array([[stretches.shared(one, other) for other in real.values()] for one in said.values()])
    if not time.size:
        return {}
    from scipy.optimize import linear_sum_assignment  # takes a tenth of a second

    columns, speakers = list(said), list(real)
    pairs = zip(*linear_sum_assignment(time, maximize=True), strict=True)
    return {columns[row]: speakers[at] for row, at in pairs if time[row, at] > 0}


def _band(one: Band, begin: float, end: float, top: int) -> tuple[Markup, Markup, int]:
    """Return the names beside a speaker's lanes, the lanes, and their height."""
    names = [tag("text", one.name, class_="who", x=0, y=top + 11)]
    bars: list[Markup] = []
    y = top
    for role, part in (("truth", one.truth), ("reference", one.reference), ("candidate", one.candidate)):
        if part is None:
            continue
        known = role != "truth" or one.real in ("", one.name)
        names.append(_name(NAMES[role] if known else f"truth ({one.real})", y))
        height = _LANES[role]
        for x, width, group in _placed(part, begin, end, 1):
            turns = "" if len(group) == 1 else f", {len(group)} turns close together"
            said = tag("title", f"{one.name}, {NAMES[role]}: {_times(group)}{turns}")
            bars.append(tag("rect", said, class_=role, x=x, width=width, y=y + (12 - height) // 2, height=height))
        y += _PITCH
    differs = [list(_placed(part, begin, end, NARROWEST)) for part in (one.invented, one.missed)]
    if not any(differs):
        return join(names), join(bars), y - top
    names.append(_name("differs", y))
    bottom, middle = y + 2 * _HALF, y + _HALF
    wash = [
        tag("rect", class_="wash", x=x, width=width, y=top - 3, height=bottom + 6 - top)
        for placed in differs
        for x, width, _ in placed
    ]
    lane = [tag("line", class_="middle", x1=0, x2="100%", y1=middle, y2=middle)]
    for what, placed in zip(("invented", "missed"), differs, strict=True):
        for x, width, group in placed:
            said = tag("title", f"{one.name}, {what}: {stretches.seconds(group):.2f} s, {_times(group)}")
            if what == "invented":
                lane.append(tag("rect", said, class_=what, x=x, width=width, y=y, height=_HALF))
            else:
                # Its stripes are the dashes of a line as thick as the bar, which starts anew with each.
                far, half = f"{float(x[:-1]) + float(width[:-1]):.2f}%", middle + _HALF / 2
                lane.append(tag("line", said, class_=what, x1=x, x2=far, y1=half, y2=half))
    return join(names), join([*wash, *bars, *lane]), bottom - top


def _name(words: str, y: int) -> Markup:
    return tag("text", words, class_="lane", x=_GUTTER - 12, y=y + 10)


def _placed(part: Stretches, begin: float, end: float, least: int) -> Iterator[tuple[str, str, Stretches]]:
    """Yield the start and the width of each bar, and its stretches."""
    scale = 100 / (end - begin)
    narrowest = 100 * least / COLUMNS
    for group in stretches.bridged(stretches.within(part, begin, end), least * (end - begin) / COLUMNS):
        x, width = scale * (group[0, 0] - begin), scale * (group[-1, 1] - group[0, 0])
        if width < narrowest:
            x, width = min(max(x - (narrowest - width) / 2, 0), 100 - narrowest), narrowest
        yield f"{x:.2f}%", f"{width:.2f}%", group


def _times(group: Stretches) -> str:
    return f"{group[0, 0]:.2f} to {group[-1, 1]:.2f} s"


def _axis(begin: float, end: float, bottom: int) -> Iterator[Markup]:
    for index, time in enumerate(ticks(begin, end)):
        x = f"{100 * (time - begin) / (end - begin):.2f}%"
        yield tag("line", class_="tick", x1=x, x2=x, y1=0, y2=bottom)
        yield tag("text", f"{time:g}{'' if index else ' s'}", class_="time", x=x, y=bottom + 14)
