"""Limits in code, `min` and `max` and numpy's like, by which of their values they let through while it is traced."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np

_NUMBERS = (int, float, np.generic, np.ndarray)
_ABSENT = object()


@dataclass(frozen=True)
class Limit:
    """A call of `min`, `max`, `np.minimum`, `np.maximum` or `np.clip`, by its place."""

    path: Path
    line: int
    column: int
    end: tuple[int, int]

    def call(self, source: str) -> ast.Call | None:
        """Return the call as it is written; None where it has values from a list, or where other code ran."""
        wanted = (self.line, self.column, *self.end)
        calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
        plain = (one for one in calls if not any(isinstance(argument, ast.Starred) for argument in one.args))
        return next((one for one in plain if _place(one) == wanted), None)


@dataclass
class Limits:
    """Calls in watched code. A limit that never lets one of its values through may as well be another one.

    Attributes:
        counts: Whether the calls in a function count.
    """

    counts: Callable[[CodeType], bool]
    _won: dict[Limit, tuple[int, set[int]]] = field(default_factory=dict)
    _replaced: list[tuple[dict[str, Any], str, Any]] = field(default_factory=list)
    _watched: set[int] = field(default_factory=set)

    def watch(self, names: dict[str, Any]) -> None:
        """Watch the calls of a module by its global names, until `restore`."""
        if id(names) in self._watched:
            return
        self._watched.add(id(names))
        watched: dict[str, Any] = {"min": self._spied(min, _least), "max": self._spied(max, _most)}
        ours = _Numpy(
            {
                "minimum": self._spied(np.minimum, _least),
                "maximum": self._spied(np.maximum, _most),
                "clip": self._spied(np.clip, _clipped, 3),
            }
        )
        watched = {name: one for name, one in watched.items() if names.get(name, one.spied) is one.spied}
        watched |= {name: ours for name, value in names.items() if value is np}
        for name, one in watched.items():
            self._replaced.append((names, name, names.get(name, _ABSENT)))
            names[name] = one

    def restore(self) -> None:
        """Give every module its own names back."""
        for names, name, before in reversed(self._replaced):
            if before is _ABSENT:
                del names[name]
            else:
                names[name] = before
        self._replaced.clear()
        self._watched.clear()

    def found(self) -> Iterator[tuple[Limit, int, set[int]]]:
        """Yield each limit that was met, the number of its values, and which of them it let through."""
        for limit, (values, won) in self._won.items():
            yield limit, values, won

    def _spied(self, function: Any, winners: Callable[..., set[int]], least: int = 2) -> _Spy:
        def told(values: tuple[Any, ...]) -> None:
            if len(values) >= least and all(isinstance(value, _NUMBERS) for value in values):
                self._note(sys._getframe(2), values, winners)

        return _Spy(function, told)

    def _note(self, frame: FrameType, values: tuple[Any, ...], winners: Callable[..., set[int]]) -> None:
        if not self.counts(frame.f_code):
            return
        line, last, column, end = list(frame.f_code.co_positions())[frame.f_lasti // 2]
        if line is None or last is None or column is None or end is None:
            return
        limit = Limit(Path(frame.f_code.co_filename), line, column, (last, end))
        self._won.setdefault(limit, (len(values), set()))[1].update(winners(*values))


class _Spy:
    """A function, or a ufunc with its methods, that tells its positional arguments before it is called."""

    def __init__(self, spied: Any, told: Callable[[tuple[Any, ...]], None]) -> None:
        self.spied, self._told = spied, told

    def __call__(self, *values: Any, **options: Any) -> Any:
        self._told(values)
        return self.spied(*values, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.spied, name)


class _Numpy:
    """numpy with some functions of ours."""

    def __init__(self, ours: Mapping[str, Any]) -> None:
        vars(self).update(ours)

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


def _least(*values: Any) -> set[int]:
    return _first(values, np.less)


def _most(*values: Any) -> set[int]:
    return _first(values, np.greater)


def _clipped(value: Any, low: Any, high: Any) -> set[int]:
    """Return 0 if a value is within, 1 if one is below, 2 if one is above. At a limit it is neither."""
    below, above = np.less(value, low), np.greater(value, high)
    within = np.greater(value, low) & np.less(value, high)
    return {place for place, seen in enumerate((within, below, above)) if np.any(seen)}


def _first(values: tuple[Any, ...], before: Any) -> set[int]:
    """Return the values that alone come first somewhere. Where two are equal, neither is told from the other."""

    def alone(place: int) -> bool:
        others = [before(values[place], other) for at, other in enumerate(values) if at != place]
        return bool(np.any(np.logical_and.reduce(np.broadcast_arrays(*others)))) if others else False

    return {place for place in range(len(values)) if alone(place)}


def _place(node: ast.Call) -> tuple[int, int, int, int]:
    return node.lineno, node.col_offset, node.end_lineno or 0, node.end_col_offset or 0
