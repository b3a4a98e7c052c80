"""The small parts that every section of the page is made of."""

from __future__ import annotations

import math
from functools import cache

from parity.report.markup import Markup, join, tag, text
from parity.report.summary import Group

NEAR = 0.7
"""From this share of its bound on, a finding is shown as near to it."""


def mark(passed: bool) -> Markup:
    """State by symbol and by word, never by colour alone."""
    symbol, word = ("✓", "passed") if passed else ("✗", "failed")
    return tag("span", symbol, class_=f"mark {'good' if passed else 'bad'}", role="img", aria_label=word)


def percent(share: float | None) -> str:
    """Return a share of a bound: as a percentage up to the bound, as a multiple beyond it."""
    if share is None:
        return "–"
    if not math.isfinite(share):
        return "∞"
    if share > 1:
        return f"{share:.3g} ×" if share < 1000 else "> 1000 ×"
    return f"{100 * share:.0f} %" if share >= 0.005 or share == 0 else "< 1 %"


def meter(share: float | None) -> Markup:
    """Return the used share of a bound, as a bar and in words."""
    if share is None:
        return tag("span", "–", class_="share soft")
    kind = "over" if share > 1 else "near" if share > NEAR else "under"
    return _meter(kind, round(100 * min(share, 1)), percent(share))


@cache
def _meter(kind: str, width: int, said: str) -> Markup:
    bar = tag("span", tag("i", style=f"width:{width}%"), class_=f"meter {kind}", aria_hidden="true")
    return join([bar, tag("span", said, class_=f"share{' bad' if kind == 'over' else ''}")])


def tally(group: Group) -> Markup:
    """Return how many checks passed, failed, raised, and gave no verdict."""
    counts = [
        ("✓", len(group.verdicts) - len(group.failed), "good", "passed"),
        ("✗", len(group.failed), "bad", "failed"),
        ("!", len(group.errors), "bad", "raised"),
        ("?", len(group.missing), "bad", "gave no verdict"),
    ]
    shown = [
        tag("span", f"{symbol} {count}", class_=kind, title=f"{count} {word}")
        for symbol, count, kind, word in counts
        if count or symbol == "✓"
    ]
    return tag("span", *shown, class_="tally")


def listing(items: list[str]) -> Markup:
    return tag("ul", *(tag("li", item) for item in items))


def section(heading: str, *content: str, note: str = "") -> Markup:
    return tag("section", tag("h2", heading), tag("p", note, class_="note") if note else text(""), *content)
