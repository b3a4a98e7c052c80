"""Strict reading of the data files: what was not foreseen is an error that names file, table and mend."""

from __future__ import annotations

import difflib
import json
import math
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
STRING = re.compile(r'"(?:\\.|[^"\\])*"|\'[^\']*\'')


@dataclass(frozen=True)
class Place:
    """Where in a data file one is, and how a fault found there is raised."""

    source: str
    fault: type[ValueError]
    path: tuple[str, ...] = ()

    def at(self, *names: str) -> Place:
        return replace(self, path=self.path + names)

    def wrong(self, message: str) -> ValueError:
        return self.fault(
            f"{self.source}: [{dotted(self.path)}] {message}" if self.path else f"{self.source}: {message}"
        )

    def table(self, value: object) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            raise self.wrong(f"is {value!r} where a table is expected")
        if not value:
            raise self.wrong("is empty: fill it or take it out")
        return value

    def known(self, names: Collection[str], known: Collection[str], word: str = "key") -> None:
        """Refuses the first of the names that nobody knows."""
        for name in names:
            if name not in known:
                raise self.wrong(f"unknown {word} {name!r}{nearest(name, known)}")

    def text(self, table: Mapping[str, Any], key: str, default: str | None = None) -> str:
        value = table.get(key, default)
        if value is None:
            raise self.wrong(f'has no {key}: add {key} = "…"')
        if not isinstance(value, str) or (key in table and not value.strip()):
            raise self.wrong(f"{key} is {value!r} where some text is expected")
        return value

    def number(self, table: Mapping[str, Any], key: str) -> float:
        value = table[key]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(f"{key} is {value!r} where a number is expected")
        if not math.isfinite(value):
            raise self.wrong(f"{key} is {value}: a bound that is not finite bounds nothing")
        return float(value)


def read(path: Path, fault: type[ValueError]) -> str:
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        raise fault(f"{path}: there is no such file, and without its bounds nothing can be judged") from None
    except UnicodeDecodeError as error:
        raise fault(f"{path}: is not UTF-8 text: {error}") from None


def parse(text: str, place: Place) -> Mapping[str, Any]:
    """The content of a TOML text. A table or key that occurs twice is an error with its line."""
    try:
        content = tomllib.loads(text + "\n")  # without it, a fault in the last line has no line number
    except tomllib.TOMLDecodeError as error:
        raise place.wrong(str(error)) from None
    if not content:
        raise place.wrong("holds no bound at all, and nothing may pass for want of one")
    return content


def retired(content: dict[str, Any], place: Place) -> Mapping[str, str]:
    """Takes the table `retired` out of a file's content: for each name that was taken away, the reason."""
    if "retired" not in content:
        return {}
    place = place.at("retired")
    entries = place.table(content.pop("retired"))
    return {name: place.text(entries, name) for name in entries}


def absent(retired: Mapping[str, str], present: Iterable[str], place: Place) -> None:
    """Refuses a name that is retired and still there."""
    for name in present:
        if retirement(retired, name):
            raise place.at("retired").wrong(f"takes {name} away, which is still there: remove it, or its retirement")


def retirement(retired: Mapping[str, str], name: str) -> str:
    """Why a name, or a table that it stood in, is no more; empty if nobody said so."""
    return next((why for gone, why in retired.items() if name == gone or name.startswith(gone + ".")), "")


def nearest(name: str, known: Collection[str]) -> str:
    """The end of a sentence about an unknown name."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there are {', '.join(known)}" if known else "; there is none"


def dotted(names: Collection[str]) -> str:
    """A path as a TOML table header writes it."""
    return ".".join(name if BARE_KEY.fullmatch(name) else quoted(name) for name in names)


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def number(value: float) -> str:
    """A number as it is best read: no exponent where none is needed, and the same value when read again."""
    short = f"{value:.6f}".rstrip("0")
    if float(short) == value and abs(value) >= 1e-4:
        return short + "0" if short.endswith(".") else short
    return repr(value)


def comments(text: str) -> tuple[str, tuple[int, ...]]:
    """The comment at the head of a TOML text, and the numbers of the lines with a comment further down."""
    lines = text.splitlines(keepends=True)
    head = 0
    while head < len(lines) and (lines[head].startswith("#") or not lines[head].strip()):
        head += 1
    below = tuple(index for index, line in enumerate(lines[head:], head + 1) if "#" in STRING.sub("", line))
    return "".join(lines[:head]), below
