"""Speakers over time, for each output with turns: upstream, the artifact, and the truth."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from parity.compare.evidence import MediaError, Meeting, read_meeting, with_turns
from parity.diarization import stretches
from parity.judge.headroom import comparison, number
from parity.record.run import RunRecord
from parity.report.markup import NOTHING, Markup, gallery, join, mark, tag
from parity.report.summary import Evidence, in_order, place
from parity.report.timeline import NAMES, Band, bands, lasts, timeline
from parity.verdict import Finding, Verdict

BUDGET = 1_500_000
"""Bytes of timelines in one page: the worst come first, the rest is named."""
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


def speaking(record: RunRecord, evidence: Evidence) -> Markup:
    """Return a card for each output whose candidate differs, and what could not or need not be shown."""
    note = (
        "What the artifact decides beside what upstream does. Speakers are compared by their number; the error rates "
        "pair them as fits best. The truth is put to whom of upstream's speakers it fits."
    )
    shown = _meetings(record, evidence)
    return gallery("Who speaks when", note, "Without a timeline", shown, lambda cards: BUDGET - sum(map(len, cards)))


def _meetings(record: RunRecord, evidence: Evidence) -> Iterator[tuple[Verdict, str, str | Callable[[bool], Markup]]]:
    """Yield the turns of each check, equal outputs together, or why they cannot or need not be shown."""
    for verdict, folder in in_order(record, evidence):
        if folder is None:
            if not verdict.passed and any(one.gate == "der" for one in verdict.findings):
                yield verdict, "", "its evidence is no longer kept"
            continue
        alike: dict[tuple[bytes | None, ...], tuple[list[str], Meeting]] = {}
        for output in with_turns(folder):
            try:
                found = read_meeting(folder, output)
            except MediaError as error:
                yield verdict, output, str(error)
                continue
            alike.setdefault(found.content, ([], found))[0].append(output)
        for outputs, found in alike.values():
            named = " and ".join(outputs)
            agreed = f"{named} {'is' if len(outputs) == 1 else 'are'} upstream's, turn by turn"
            yield verdict, named, agreed if found.agreed else partial(_card, verdict, outputs, found)


def _card(verdict: Verdict, outputs: Sequence[str], found: Meeting, opened: bool) -> Markup:
    check, shown = verdict.check, bands(found)
    head = tag("h3", mark(verdict.passed), f"{check.system} · {check.stage} · {', '.join(outputs)}")
    missed = sum(stretches.seconds(one.missed) for one in shown)
    invented = sum(stretches.seconds(one.invented) for one in shown)
    words = f"{missed:.2f} s missed, {invented:.2f} s invented"
    return tag(
        "details",
        tag("summary", head, tag("span", place(check), class_="soft"), tag("span", words, class_="push soft")),
        tag("div", _rates(verdict, outputs), *_figures(shown), class_="sound"),
        class_="card speaking",
        open=opened,
    )


def _figures(shown: Sequence[Band]) -> Iterator[Markup]:
    known = {**NAMES, "invented": "invented: artifact alone", "missed": "missed: upstream alone"}
    if all(one.truth is None for one in shown):
        del known["truth"]
    legend = [tag("span", tag("i", class_=f"swatch {name}"), said) for name, said in known.items()]
    whole = lasts(shown)
    yield tag("figure", tag("figcaption", *legend, class_="legend"), timeline(shown, 0.0, whole))
    if whole > 1.5 * EXCERPT:
        differing = [part for one in shown for part in (one.missed, one.invented)]
        begin = min(max(stretches.fullest(differing, EXCERPT - LEAD) - LEAD, 0.0), whole - EXCERPT)
        words = f"{begin:.0f} to {begin + EXCERPT:.0f} s, where the two differ most"
        yield tag("figure", tag("figcaption", words), timeline(shown, begin, begin + EXCERPT))


def _rates(verdict: Verdict, outputs: Sequence[str]) -> Markup:
    """Return the error rates of each output, as far as they are judged, with their bounds."""
    judged = {(one.output, one.gate): one for one in verdict.findings if one.value is not None}
    gates = [gate for gate in RATES if any((output, gate) in judged for output in outputs)]
    if not gates:
        return NOTHING
    head = tag("tr", tag("th"), *(tag("th", RATES[gate], scope="col") for gate in gates))
    rows = [
        tag("tr", tag("th", output, scope="row"), *(tag("td", _rate(judged.get((output, gate)))) for gate in gates))
        for output in outputs
    ]
    return tag("div", tag("table", head, *rows, class_="numbers plain"), class_="scroll")


def _rate(finding: Finding | None) -> Markup:
    if finding is None or finding.value is None:
        return join(["–"])
    rate, bound, difference = finding.value, finding.bound, finding.gate == "der_delta"
    unit = "points" if difference else "%"
    said = number(rate)
    if math.isfinite(rate):
        said = f"{round(100 * rate, 2) + 0.0:{'+' if difference else ''}.2f} {unit}"
        said = said.replace("-", "−") if difference else said
    limit = f"≤ {100 * bound.limit:.3g} {unit}" if bound and bound.form == "max" else str(bound or "")
    value = tag("span", said, class_=None if finding.passed else "bad value", title=comparison(finding))
    return join([NOTHING if finding.passed else mark(False), value, " ", tag("span", limit, class_="soft")])
