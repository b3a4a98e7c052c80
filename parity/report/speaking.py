"""Speakers of a meeting over time, for each output with turns: upstream, the artifact, and the truth.

Time is a share of the width, so that it fits every window.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from markupsafe import Markup

from parity.compare.evidence import SPEAKERS, MediaError, Meeting, read_meeting, with_turns
from parity.diarization import stretches
from parity.diarization.stretches import Stretches
from parity.diarization.turns import Turns
from parity.record.run import RunRecord
from parity.report import cards
from parity.report.cards import Gallery
from parity.report.summary import Evidence
from parity.verdict import Finding, Verdict, number

BUDGET = 1_500_000
"""Bytes of timelines in one page."""
EXCERPT = 120.0
LEAD = 5.0
"""Seconds shown before the first difference of an excerpt."""
RATES = {
    "der": "DER",
    "missed": "missed",
    "false_alarm": "false alarm",
    "confusion": "confusion",
    "der_collar": "DER with a collar",
    "der_delta": "DER against the truth",
}
"""The gates that are shown beside a timeline. The last is a difference of rates, the others are rates."""
NAMES = {"truth": "truth", "reference": "upstream", "candidate": "artifact"}
COLUMNS = 1000
"""Columns of the figure. Anything narrower than one is drawn that wide, and a gap like that not at all."""
NARROWEST = 4
"""Columns that a difference takes at least: it must be found."""
TICKS = 8
STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14_400)

_THICK = {"truth": 7, "reference": 11, "candidate": 11}
_PITCH, _HALF, _SPACE, _AXIS, _GUTTER = 16, 8, 12, 20, 104
_FIGURE = Markup(
    '<div class="timeline"><svg class="names" width="{gutter}" height="{height}" aria-hidden="true">{names}</svg>'
    '<svg class="lanes" height="{height}" role="img" aria-label="Who speaks when, from {begin:.0f} to {end:.0f} s">'
    "{lanes}</svg></div>"
)
_TEXT = Markup('<text class="{}" x="{}" y="{}">{}</text>')
_BAR = Markup('<rect class="{}" x="{:.2f}%" width="{:.2f}%" y="{}" height="{}">{}</rect>')
_LINE = Markup('<line class="{}" x1="{:.2f}%" x2="{:.2f}%" y1="{}" y2="{}">{}</line>')
_TITLE = Markup("<title>{}, {}: {}{:.2f} to {:.2f} s{}</title>")


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


@dataclass(frozen=True)
class Spoken:
    """The card of outputs that have the same turns.

    figures: timelines, each with the part that it shows, in words; empty for all of it.
    """

    verdict: Verdict
    outputs: Sequence[str]
    bands: Sequence[Band]
    figures: Sequence[tuple[str, Markup]]

    @property
    def size(self) -> int:
        return sum(len(figure) for _, figure in self.figures)

    @property
    def differs(self) -> str:
        missed = sum(stretches.seconds(one.missed) for one in self.bands)
        invented = sum(stretches.seconds(one.invented) for one in self.bands)
        return f"{missed:.2f} s missed, {invented:.2f} s invented"

    @property
    def legend(self) -> dict[str, str]:
        known = {**NAMES, "invented": "invented: artifact alone", "missed": "missed: upstream alone"}
        untold = all(one.truth is None for one in self.bands)
        return {name: said for name, said in known.items() if name != "truth" or not untold}

    @property
    def judged(self) -> dict[tuple[str, str], Finding]:
        """The error rates by output and gate, as far as they are judged."""
        found = {(one.output, one.gate): one for one in self.verdict.findings if one.value is not None}
        return {key: one for key, one in found.items() if key[0] in self.outputs and key[1] in RATES}

    @property
    def gates(self) -> list[str]:
        return [gate for gate in RATES if any(gate == judged for _, judged in self.judged)]


def gallery(record: RunRecord, evidence: Evidence) -> Gallery:
    """Return a card for each output whose candidate differs, and what could not or need not be shown."""

    def missed(verdict: Verdict) -> bool:
        return not verdict.passed and any(one.gate == "der" for one in verdict.findings)

    return cards.gallery(record, evidence, BUDGET, _outputs, missed)


def _outputs(verdict: Verdict, folder: Path) -> Iterator[tuple[str, str | Callable[[], Spoken]]]:
    """Yield the turns of a check, equal outputs together, or why they cannot or need not be shown."""
    alike: dict[tuple[bytes | None, ...], tuple[list[str], Meeting]] = {}
    for output in with_turns(folder):
        try:
            found = read_meeting(folder, output)
        except MediaError as error:
            yield output, str(error)
            continue
        alike.setdefault(found.content, ([], found))[0].append(output)
    for outputs, found in alike.values():
        named = " and ".join(outputs)
        agreed = f"{named} {'is' if len(outputs) == 1 else 'are'} upstream's, turn by turn"
        yield named, agreed if found.agreed else partial(_card, verdict, outputs, found)


def _card(verdict: Verdict, outputs: Sequence[str], found: Meeting) -> Spoken:
    shown = bands(found)
    whole = lasts(shown)
    figures = [("", timeline(shown, 0.0, whole))]
    if whole > 1.5 * EXCERPT:
        differing = [part for one in shown for part in (one.missed, one.invented)]
        begin = min(max(stretches.fullest(differing, EXCERPT - LEAD) - LEAD, 0.0), whole - EXCERPT)
        words = f"{begin:.0f} to {begin + EXCERPT:.0f} s, where the two differ most"
        figures.append((words, timeline(shown, begin, begin + EXCERPT)))
    return Spoken(verdict, outputs, shown, figures)


def rate(finding: Finding) -> str:
    """Return an error rate in percent, and a difference of rates in points."""
    value, difference = finding.value or 0.0, finding.gate == "der_delta"
    if not math.isfinite(value):
        return number(value)
    said = f"{round(100 * value, 2) + 0.0:{'+' if difference else ''}.2f}"
    return f"{said.replace('-', '−')} points" if difference else f"{said} %"


def limit(finding: Finding) -> str:
    """Return the bound of an error rate in the same unit."""
    bound = finding.bound
    if not bound or bound.form != "max":
        return str(bound or "")
    return f"≤ {100 * bound.limit:.3g} {'points' if finding.gate == 'der_delta' else '%'}"


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


def _speakers(*turns: Turns) -> list[int]:
    return np.unique(np.concatenate(turns)[:, 2]).astype(int).tolist()


def _fitting(said: dict[int, Stretches], real: dict[int, Stretches]) -> dict[int, int]:
    """Return the real speaker of each column, so that the shared time is as long as possible."""
    time = np.array([[stretches.shared(one, other) for other in real.values()] for one in said.values()])
    if not time.size:
        return {}
    from scipy.optimize import linear_sum_assignment  # takes a tenth of a second

    columns, speakers = list(said), list(real)
    pairs = zip(*linear_sum_assignment(time, maximize=True), strict=True)
    return {columns[row]: speakers[at] for row, at in pairs if time[row, at] > 0}


def timeline(shown: Sequence[Band], begin: float, end: float) -> Markup:
    """Return a band for each speaker, with a lane for differences between artifact and upstream.

    False alarms lie above the lane's line; missed speech lies below it, striped.
    """
    names: list[Markup] = []
    lanes: list[Markup] = []
    top = 4
    for one in shown:
        top = _band(one, begin, end, top, names, lanes) + _SPACE
    bottom = top - _SPACE + 6
    axis = _axis(begin, end, bottom)
    parts = {"names": Markup("").join(names), "lanes": Markup("").join([*axis, *lanes])}
    return _FIGURE.format(gutter=_GUTTER, height=bottom + _AXIS, begin=begin, end=end, **parts)


def _band(one: Band, begin: float, end: float, y: int, names: list[Markup], lanes: list[Markup]) -> int:
    """Add the names and the lanes of a speaker from `y` on, and return where they end."""
    names.append(_TEXT.format("who", 0, y + 11, one.name))
    top, bars = y, []
    for role, part in (("truth", one.truth), ("reference", one.reference), ("candidate", one.candidate)):
        if part is None:
            continue
        known = role != "truth" or one.real in ("", one.name)
        names.append(_lane(NAMES[role] if known else f"truth ({one.real})", y))
        for x, width, group in _placed(part, begin, end, 1):
            close = "" if len(group) == 1 else f", {len(group)} turns close together"
            said = _TITLE.format(one.name, NAMES[role], "", group[0, 0], group[-1, 1], close)
            bars.append(_BAR.format(role, x, width, y + (12 - _THICK[role]) // 2, _THICK[role], said))
        y += _PITCH
    invented, missed = (list(_placed(part, begin, end, NARROWEST)) for part in (one.invented, one.missed))
    if not invented and not missed:
        lanes += bars
        return y
    names.append(_lane("differs", y))
    bottom, middle = y + 2 * _HALF, y + _HALF
    lanes += [_BAR.format("wash", x, width, top - 3, bottom + 6 - top, "") for x, width, _ in invented + missed]
    lanes += [*bars, _LINE.format("middle", 0, 100, middle, middle, "")]
    for x, width, group in invented:
        said = _TITLE.format(one.name, "invented", f"{stretches.seconds(group):.2f} s, ", group[0, 0], group[-1, 1], "")
        lanes.append(_BAR.format("invented", x, width, y, _HALF, said))
    for x, width, group in missed:
        said = _TITLE.format(one.name, "missed", f"{stretches.seconds(group):.2f} s, ", group[0, 0], group[-1, 1], "")
        # Its stripes are the dashes of a line as thick as the bar, which starts anew with each.
        lanes.append(_LINE.format("missed", x, x + width, middle + _HALF / 2, middle + _HALF / 2, said))
    return bottom


def _lane(words: str, y: int) -> Markup:
    return _TEXT.format("lane", _GUTTER - 12, y + 10, words)


def _placed(part: Stretches, begin: float, end: float, least: int) -> Iterator[tuple[float, float, Stretches]]:
    """Yield the start and the width of each bar, as percentages, and its stretches."""
    scale = 100 / (end - begin)
    narrowest = 100 * least / COLUMNS
    for group in stretches.bridged(stretches.within(part, begin, end), least * (end - begin) / COLUMNS):
        x, width = scale * (group[0, 0] - begin), scale * (group[-1, 1] - group[0, 0])
        if width < narrowest:
            x, width = min(max(x - (narrowest - width) / 2, 0), 100 - narrowest), narrowest
        yield x, width, group


def _axis(begin: float, end: float, bottom: int) -> Iterator[Markup]:
    for index, time in enumerate(ticks(begin, end)):
        x = 100 * (time - begin) / (end - begin)
        yield _LINE.format("tick", x, x, 0, bottom, "")
        yield _TEXT.format("time", f"{x:.2f}%", bottom + 14, f"{time:g}{'' if index else ' s'}")


def ticks(begin: float, end: float) -> list[float]:
    """Return round times between two others, few enough to be read."""
    step = next((step for step in STEPS if (end - begin) / step <= TICKS), STEPS[-1])
    return [step * count for count in range(math.ceil(begin / step), math.floor(end / step) + 1)]
