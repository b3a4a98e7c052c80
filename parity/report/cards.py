"""Cards of a page that show evidence: which outputs have one, as far as there is room, and why others have none."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from parity.record.run import RunRecord
from parity.report.summary import Evidence, where, worst_first
from parity.verdict import Verdict


class Gallery(NamedTuple):
    """Cards of outputs, those of failed checks first, and what could not or need not be shown.

    Each card has a `verdict`, and the `size` in bytes that it adds to the page.
    """

    cards: list[Any]
    remarks: list[str]


def gallery(
    record: RunRecord,
    evidence: Evidence,
    budget: int,
    outputs: Callable[[Verdict, Path], Iterable[tuple[str, str | Callable[[], Any]]]],
    missed: Callable[[Verdict], bool],
) -> Gallery:
    """Return the cards of a run. Checks that share their evidence have those of the first.

    Args:
        record: The record of the run.
        evidence: Gives the folder of an evidence key.
        budget: The bytes of all cards. The worst come first, the rest is named.
        outputs: Gives the outputs of a check and its folder: the name, and what makes its card or why it has none.
        missed: Tells if a check whose evidence is gone would have had a card.
    """
    found, seen = Gallery([], []), {""}
    for verdict in worst_first(record.verdicts):
        if verdict.evidence in seen:
            continue
        seen.add(verdict.evidence)
        folder = evidence(verdict.evidence)
        gone = [("", "its evidence is no longer kept")] if missed(verdict) else []
        for output, card in outputs(verdict, folder) if folder else gone:
            if not isinstance(card, str) and budget > 0:
                found.cards.append(made := card())
                budget -= made.size
            else:
                why = card if isinstance(card, str) else f"{output} is left out, for the page would grow too large"
                found.remarks.append(f"{where(verdict.check)}: {why}")
    return found
