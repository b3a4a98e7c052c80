"""JSON into frozen dataclasses, strictly: every field there, no other, each of its declared type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
NOT_FINITE = ("nan", "inf", "-inf")
"""How a float is written where JSON has no number for it."""


def read(kind: type[T], data: Any, place: str) -> T:
    """The dataclass that `data` holds; a ValueError that names the place where it does not."""
    if not isinstance(data, dict):
        raise ValueError(f"{place}: {kind.__name__} is a mapping, not {type(data).__name__}")
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    if missing := [name for name in names if name not in data]:
        raise ValueError(f"{place}: {kind.__name__} lacks {', '.join(missing)}")
    if unknown := sorted(set(data) - set(names)):
        raise ValueError(f"{place}: {kind.__name__} knows no {', '.join(unknown)}; it has {', '.join(names)}")
    hints = get_type_hints(kind)
    return kind(**{name: _value(hints[name], data[name], f"{place}.{name}") for name in names})


def _value(hint: Any, value: Any, place: str) -> Any:
    origin, inner = get_origin(hint), get_args(hint)
    if is_dataclass(hint) and isinstance(hint, type):
        return read(hint, value, place)
    if origin in (UnionType, Union):
        return _one_of(inner, value, place)
    if origin is Literal and value in inner:
        return value
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_value(inner[0], item, f"{place}[{index}]") for index, item in enumerate(value))
    if origin is Mapping and isinstance(value, dict):
        return {name: _value(inner[1], item, f"{place}.{name}") for name, item in value.items()}
    if hint is float and (type(value) in (int, float) or value in NOT_FINITE):
        return float(value)
    if isinstance(hint, type) and origin is None and type(value) is hint:
        return value
    wanted = ", ".join(map(repr, inner)) if origin is Literal else getattr(hint, "__name__", str(hint))
    raise ValueError(f"{place} is {value!r} where {wanted} is expected")


def _one_of(kinds: tuple[Any, ...], value: Any, place: str) -> Any:
    if value is None and NoneType in kinds:
        return None
    rest = [kind for kind in kinds if kind is not NoneType]
    if len(rest) == 1:
        return _value(rest[0], value, place)
    for kind in rest:
        if type(value) is kind:
            return value
    raise ValueError(f"{place} is {value!r} where {' or '.join(kind.__name__ for kind in rest)} is expected")
