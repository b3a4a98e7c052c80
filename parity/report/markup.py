"""HTML that escapes by construction: whatever is not Markup is text, and text never becomes an element."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup as Markup
from markupsafe import escape

Attribute = str | int | float | bool | None


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
