"""Data files: TOML read strictly into pydantic models. Every fault is an error that names file, table and mend.

class Entry(Table):
    max: Number
    derived_from: Text

place = Place("gates.toml", GateError)
entries = checked(Filled[Entry], parse(text, place), place)
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

T = TypeVar("T")
BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
STRING = re.compile(r'"(?:\\.|[^"\\])*"|\'[^\']*\'')
_WANTED = {
    "string_type": "some text is expected",
    "float_type": "a number is expected",
    "int_type": "a whole number is expected",
    "finite_number": "a finite number is expected: a bound that is not finite bounds nothing",
    "dict_type": "a table is expected",
    "model_type": "a table is expected",
    "tuple_type": "a list is expected",
    "list_type": "a list is expected",
    "too_short": "something is expected",
}


@dataclass(frozen=True)
class Place:
    """A place in a data file, and the exception that reports a fault there."""

    source: str
    fault: type[ValueError]
    path: tuple[str, ...] = ()

    def at(self, *names: str) -> Place:
        return replace(self, path=self.path + names)

    def wrong(self, message: str) -> ValueError:
        """Return the exception for a fault at this place."""
        where = f"[{dotted(self.path)}] " if self.path else ""
        return self.fault(f"{self.source}: {where}{message}")


class Table(BaseModel):
    """A table whose keys are all known; the model of an entry or a file."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _only_known_keys(cls, data: Any) -> Any:
        if isinstance(data, dict):
            _filled(data)
            known(*data, among=cls.model_fields)
        return data


def known(*names: str, among: Collection[str], word: str = "key") -> None:
    """Refuse the first of the names that is not among the known ones, and suggest the nearest."""
    for name in names:
        if name not in among:
            raise ValueError(f"unknown {word} {name!r}{nearest(name, among)}")


def one_of(*names: str, word: str) -> Callable[[str], str]:
    """Return a validator of text that allows these names only."""

    def check(name: str) -> str:
        known(name, among=names, word=word)
        return name

    return check


def _filled(table: Any) -> Any:
    if table == {}:
        raise ValueError("is empty: fill it or take it out")
    return table


def _written(text: str) -> str:
    if not text.strip():
        raise ValueError(f"is {text!r} where some text is expected")
    return text


Text = Annotated[str, AfterValidator(_written)]
Filled = Annotated[dict[str, T], BeforeValidator(_filled)]
"""A table of names that are not known beforehand; an empty one is refused."""


def read(path: Path, fault: type[ValueError]) -> str:
    """Return the text of a data file; raise `fault` where it is missing or not text."""
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        raise fault(f"{path}: there is no such file, and without its bounds nothing can be judged") from None
    except UnicodeDecodeError as error:
        raise fault(f"{path}: is not UTF-8 text: {error}") from None


def parse(text: str, place: Place) -> dict[str, Any]:
    """Return the content of a TOML text. A table or key that occurs twice is an error with its line."""
    try:
        content = tomllib.loads(text + "\n")  # without it, a fault in the last line has no line number
    except tomllib.TOMLDecodeError as error:
        raise place.wrong(str(error)) from None
    return _some(content, place)


def checked(kind: Any, content: Any, place: Place) -> Any:
    """Return the content as a model, or what else pydantic knows; the first fault is raised with its place."""
    try:
        is_model = isinstance(kind, type) and issubclass(kind, BaseModel)
        return TypeAdapter(kind, config=None if is_model else ConfigDict(strict=True)).validate_python(content)
    except ValidationError as error:
        found: Any = error.errors(include_url=False)[0]
        names = tuple(str(part) for part in found["loc"] if not str(part).startswith("["))
        if found["type"] == "missing":
            raise place.at(*names[:-1]).wrong(f"has no {names[-1]}: add {names[-1]} = …") from None
        if found["type"] == "value_error":
            raise place.at(*names).wrong(str(found["ctx"]["error"])) from None
        wanted = _WANTED.get(found["type"], found["msg"])
        raise place.at(*names).wrong(f"is {found['input']!r} where {wanted}") from None


def retired(content: dict[str, Any], place: Place) -> Mapping[str, str]:
    """Take the table `retired` out of a file's content: for each name that was taken away, the reason."""
    if "retired" not in content:
        return {}
    reasons: dict[str, str] = checked(Filled[Text], content.pop("retired"), place.at("retired"))
    _some(content, place)
    return reasons


def _some(content: dict[str, Any], place: Place) -> dict[str, Any]:
    if not content:
        raise place.wrong("holds no bound at all, and nothing may pass for want of one")
    return content


def absent(retired: Mapping[str, str], present: Iterable[str], place: Place) -> None:
    """Refuse a name that is retired and still there."""
    for name in present:
        if retirement(retired, name):
            raise place.at("retired").wrong(f"takes {name} away, which is still there: remove it, or its retirement")


def retirement(retired: Mapping[str, str], name: str) -> str:
    """Return the reason why a name, or a table that it stood in, was taken away; empty if nobody gave one."""
    return next((why for gone, why in retired.items() if name == gone or name.startswith(gone + ".")), "")


def nearest(name: str, known: Collection[str]) -> str:
    """Return the end of a sentence about an unknown name: the nearest known one, or all of them."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there are {', '.join(known)}" if known else "; none is known"


def dotted(names: Collection[str]) -> str:
    """Return a path as a TOML table header writes it."""
    return ".".join(name if BARE_KEY.fullmatch(name) else quoted(name) for name in names)


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def number(value: float) -> str:
    """Return a float as TOML writes it, in as few characters as can be read back."""
    short = f"{value:.6f}".rstrip("0")
    if float(short) == value and abs(value) >= 1e-4:
        return short + "0" if short.endswith(".") else short
    return repr(value)


def comments(text: str) -> tuple[str, tuple[int, ...]]:
    """Return the comment at the head of a TOML text, and the numbers of the lines with a comment further down."""
    lines = text.splitlines(keepends=True)
    head = 0
    while head < len(lines) and (lines[head].startswith("#") or not lines[head].strip()):
        head += 1
    below = tuple(index for index, line in enumerate(lines[head:], head + 1) if "#" in STRING.sub("", line))
    return "".join(lines[:head]), below


def settings(section: dict[str, Any], source: str, fault: type[ValueError]) -> dict[str, Any]:
    """Return the settings of `[tool.parity]`, or raise the fault that names the file, the key and the mend."""
    found = checked(_Section, section, Place(source, fault, ("tool", "parity"))) if section else ()
    return {name: value for name, value in found if value is not None}


def _within(path: str) -> str:
    if Path(path).is_absolute() or ".." in Path(path).parts:
        raise ValueError(f"is {path!r}, which lies outside of the project: name a path below it")
    return Path(path).as_posix()


_Path = Annotated[Text, AfterValidator(_within)]


class _Section(Table):
    systems: Annotated[list[_Path], AfterValidator(tuple)] | None = None
    golden: _Path | None = None
    state: _Path | None = None
    cache_gb: Annotated[float, Field(gt=0)] | None = None
