"""What classes have and what wrappers hold."""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from parity.base.code import source

_MADE_BY_PYTHON = {"__annotations__", "__doc__", "__module__", "__qualname__", "_abc_impl"}
_WRAPPERS = (property, staticmethod, classmethod, functools.cached_property, types.FunctionType)


def of(cls: type, nodes: tuple[Any, ...], where: str) -> Mapping[str, Any]:
    """What a class itself has, without what Python, `dataclass` and `Enum` derive from its body."""
    if issubclass(cls, enum.Enum):
        functions = {name: member for name, member in vars(cls).items() if isinstance(member, _WRAPPERS)}
        return {**functions, **{name: member.value for name, member in cls.__members__.items()}}
    if dataclasses.is_dataclass(cls):
        made = {f"{field.name} made by": field.default_factory for field in dataclasses.fields(cls)}
        fields = {name: factory for name, factory in made.items() if factory is not dataclasses.MISSING or not nodes}
    elif not nodes and hasattr(cls, "_field_defaults"):
        return {"fields": list(getattr(cls, "_fields", ())), "defaults": cls._field_defaults}
    elif not nodes:
        raise TypeError(f"{where} has no source: write it as a class statement in a file of its module")
    else:
        fields = {}
    written = frozenset[str]().union(*map(source.assigned, nodes))
    return {**fields, **{name: member for name, member in vars(cls).items() if _is_own(name, member, written)}}


def _is_own(name: str, member: Any, written: frozenset[str]) -> bool:
    if name in _MADE_BY_PYTHON or isinstance(member, types.MemberDescriptorType | types.GetSetDescriptorType):
        return False
    if type(member).__name__ == "_tuplegetter":
        return False
    generated = isinstance(member, types.FunctionType) and member.__code__.co_filename.startswith("<")
    dunder = name.startswith("__") and name.endswith("__")
    return not dunder or name in written or (isinstance(member, _WRAPPERS) and not generated)


def within(nodes: tuple[Any, ...], path: Path | None, function: types.FunctionType) -> bool:
    """Whether a function stands in a class of a file."""
    line = function.__code__.co_firstlineno
    return path == Path(function.__code__.co_filename) and any(node.lineno <= line <= node.end_lineno for node in nodes)


def parts(value: Any) -> tuple[Any, ...] | None:
    """What a wrapper wraps, if it is one."""
    if isinstance(value, property):
        return value.fget, value.fset, value.fdel
    if isinstance(value, staticmethod | classmethod):
        return (value.__func__,)
    if isinstance(value, functools.cached_property):
        return (value.func,)
    state = getattr(value, "__dict__", None)
    return (state["__wrapped__"],) if isinstance(state, dict) and "__wrapped__" in state else None


def held(function: types.FunctionType, ours: Callable[[Any], bool]) -> Iterator[Any]:
    """Our functions and classes that a function from elsewhere has closed over: what a foreign decorator makes."""
    seen: dict[int, Any] = {}
    waiting: list[Any] = [function]
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        if ours(value):
            yield value
        elif isinstance(value, types.FunctionType):
            waiting += [getattr(value, "__wrapped__", None), *map(_content, value.__closure__ or ())]
        elif isinstance(value, types.MethodType):
            waiting.append(value.__func__)
        elif isinstance(value, functools.partial):
            waiting += [value.func, *value.args, *value.keywords.values()]
        elif isinstance(value, dict | types.MappingProxyType):
            waiting += value.values()
        elif isinstance(value, list | tuple | set | frozenset):
            waiting += value


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None
