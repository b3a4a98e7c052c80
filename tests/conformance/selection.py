"""Which tests are run, under which ids, and from which seeds."""

from __future__ import annotations

import asyncio
import enum
import inspect
import random
import re
import sys
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

_PASSING = re.compile(r"\b0x[0-9a-f]{6,}|(?<=\bis)\d+\b")
"""Addresses, and the numbers of coremltools' symbols, which count what was imported before."""

_SPACE = re.compile(r"\s+")
_LONGEST = 120


def seed(test_id: str) -> None:
    """Seed every generator in use from the id of a test, so that its data is the same in every run."""
    number = zlib.crc32(test_id.encode())
    random.seed(number)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(number)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(number)


def readable(value: object) -> str:
    """A parameter as a part of a test id: short, on one line, the same in every process."""
    if hasattr(value, "opset_version") and hasattr(value, "precision"):
        return f"{value.backend}-{value.precision}-{value.opset_version.name}"  # type: ignore[attr-defined]
    if isinstance(value, enum.Enum):
        return value.name
    if inspect.isclass(value) or inspect.isroutine(value):
        return str(getattr(value, "__qualname__", value))
    if isinstance(value, tuple) and value and all(isinstance(part, str) for part in value):
        return "-".join(value)
    text = _SPACE.sub("", _PASSING.sub("", str(value)))
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}~{zlib.crc32(text.encode()):08x}"
    return text


def keep_parameters(metafunc: pytest.Metafunc) -> None:
    """Iterators of parameters become lists: a class that inherits a test would find them used up by the first one."""
    for mark in metafunc.definition.iter_markers("parametrize"):
        if len(mark.args) > 1 and isinstance(mark.args[1], Iterator):
            object.__setattr__(mark, "args", (mark.args[0], list(mark.args[1]), *mark.args[2:]))


def deselected_because(item: pytest.Item) -> str:
    """Why a test has nothing to do with ML programs, or nothing."""
    callspec = getattr(item, "callspec", None)
    for value in callspec.params.values() if callspec else ():
        parts = value if isinstance(value, (tuple, list)) else (value, getattr(value, "backend", None))
        if any(isinstance(part, str) and part == "neuralnetwork" for part in parts):
            return "neural network"
    for mark in item.iter_markers("skipif"):
        reason = str(mark.kwargs.get("reason", ""))
        if mark.args and mark.args[0] is True and ("ensor" in reason and "low" in reason):
            return "TensorFlow"
    return ""


def run_coroutine(function: pytest.Function) -> bool | None:
    """Run an ``async`` test, for which no plugin is installed."""
    if not inspect.iscoroutinefunction(function.obj):
        return None
    names = function._fixtureinfo.argnames
    arguments: dict[str, Any] = {name: function.funcargs[name] for name in names}
    asyncio.run(function.obj(**arguments))
    return True
