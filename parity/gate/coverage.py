"""Coverage of a run: each check was judged, on the evidence of this code, by each of its gates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from parity.base.fingerprint import digest
from parity.gate.survey import Survey, Surveyed
from parity.record.run import RunRecord
from parity.verdict import Verdict


@dataclass(frozen=True)
class Problem:
    """One reason why nothing may be merged: what it is about, and what is wrong there."""

    where: str
    what: str

    def line(self) -> str:
        return f"{self.where}: {self.what}"


def uncovered(record: RunRecord, survey: Survey) -> list[Problem]:
    """Return what the run itself cannot know: checks that were kept from being judged."""
    judged = {verdict.id: verdict for verdict in record.verdicts}
    known = {*judged, *(check.id for check in record.expected), *(error.id for error in record.errors)}
    foreign = [id for id, check in survey.checks.items() if id in judged and not _of_this_code(judged[id], check)]
    return [
        *_several(
            (id for id in survey.checks if id not in known),
            "the code declares this check, and the run left it out: look for what deselects it, such as a marker, an "
            "option in pytest.ini, or a deleted test",
        ),
        *_several(
            foreign,
            "its verdict rests on other evidence than that of this code: look for what changes the run, such as an "
            "option in pytest.ini",
        ),
        *_several(
            [f"{id}, {gate}" for id, check in survey.checks.items() for gate in _idle(judged.get(id), check)],
            "this gate exists but was never evaluated in this run",
        ),
    ]


def _of_this_code(verdict: Verdict, check: Surveyed) -> bool:
    return bool(check.fault) or not verdict.passed or verdict.evidence == digest(check.parts)


def _idle(verdict: Verdict | None, check: Surveyed) -> Iterator[str]:
    """Yield the gates of a check that a passed verdict has no finding of. Gates name families, findings outputs."""
    if verdict is None or not verdict.passed:
        return
    found = {(check.families.get(finding.output, finding.output), finding.gate) for finding in verdict.findings}
    for output, metrics in check.gates.items():
        yield from (f"{output} {metric}" for metric in metrics if (output, metric) not in found)


def _several(where: Iterable[str], what: str) -> list[Problem]:
    """Return one problem, however many checks it concerns."""
    names: Sequence[str] = list(where)
    if not names:
        return []
    return [Problem(names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more", what)]
