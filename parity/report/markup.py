"""HTML that escapes by construction: text never becomes an element. With the parts that several sections have."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import cache

from markupsafe import Markup as Markup
from markupsafe import escape

from parity.report.summary import Group, where
from parity.verdict import Verdict

Attribute = str | int | float | bool | None
NOTHING = Markup("")
NEAR = 0.7
"""From this share of its bound on, a finding is shown as near to it."""


def tag(element: str, *children: str, **attributes: Attribute) -> Markup:
    """Return one element. `class_` is the attribute class, `data_at` is data-at; False and None leave it out."""
    written = "".join(_attribute(name, value) for name, value in attributes.items())
    return Markup(f"<{element}{written}>{join(children)}</{element}>")


def row(*cells: str) -> Markup:
    """Return a row of a table. A page has thousands, and an element for each cell would take seconds."""
    parts = [cell if isinstance(cell, Markup) else text(cell) for cell in cells]
    return Markup(f"<tr><td>{'</td><td>'.join(parts)}</td></tr>")


def join(parts: Iterable[str]) -> Markup:
    """Return the parts one after the other; those that are not Markup are text."""
    return Markup("".join([part if isinstance(part, Markup) else text(part) for part in parts]))


def text(words: str) -> Markup:
    """Return escaped text without the characters that HTML does not allow."""
    if not words.isprintable():
        words = "".join(char if char.isprintable() or char in "\n\t" else "�" for char in words)
    return escape(words)


def _attribute(name: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    written = name.rstrip("_").replace("_", "-")
    return f" {written}" if value is True else f' {written}="{text(str(value))}"'


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
    shown = [
        tag("span", f"{symbol} {count}", class_="good" if symbol == "✓" else "bad", title=f"{count} {word}")
        for symbol, count, word in group.counts
    ]
    return tag("span", *shown, class_="tally")


def listing(items: Iterable[str]) -> Markup:
    return tag("ul", *(tag("li", item) for item in items))


def block(items: Sequence[str], heading: str = "") -> Markup:
    """Return a card with a list, and nothing where there is nothing to list."""
    if not items:
        return NOTHING
    return tag("div", tag("h3", heading) if heading else NOTHING, listing(items), class_="card block")


def section(heading: str, *content: str, note: str = "") -> Markup:
    """Return a section, and nothing where it has no content."""
    if not any(content):
        return NOTHING
    return tag("section", tag("h2", heading), tag("p", note, class_="note") if note else NOTHING, *content)


def head_row(*names: str, right: Sequence[str] = (), **attributes: Attribute) -> Markup:
    """Return the row of names above a table; those to the `right` head columns of numbers."""
    return tag("tr", *(tag("th", name, class_="n" if name in right else None, **attributes) for name in names))


def gallery(
    heading: str,
    note: str,
    rest: str,
    shown: Iterable[tuple[Verdict, str, str | Callable[[bool], Markup]]],
    room: Callable[[list[Markup]], int],
) -> Markup:
    """Return a section with a card for each output, and below a list of what could not or need not be shown.

    Args:
        note: Stands above the cards.
        rest: Heads the list.
        shown: Gives a check, the name of its output, and what makes a card, open or closed, or why there is none.
        room: Gives the bytes that are left beside the cards so far. The worst come first, the rest is named.
    """
    cards: list[Markup] = []
    remarks: list[str] = []
    for verdict, named, card in shown:
        if isinstance(card, str):
            remarks.append(f"{where(verdict.check)}: {card}")
        elif room(cards) <= 0:
            remarks.append(f"{where(verdict.check)}: {named} is left out, for the page would grow too large")
        else:
            cards.append(card(not (cards and verdict.passed)))
    return section(heading, *cards, block(remarks, rest), note=note if cards else "")
