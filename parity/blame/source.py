"""A place in the source, as a person finds it: relative to the project, with the line itself."""

from __future__ import annotations

import inspect
import itertools
import linecache
import re
from collections.abc import Sequence
from pathlib import Path

from parity.base.paths import project

_FRAME = re.compile(r"^(?P<file>.+)\((?P<line>\d+)\): (?P<function>.+)$")
_LONGEST = 100

Frame = tuple[str, int, str]


def frames(source_range: str) -> list[Frame]:
    """Return file, line and function of all that ran within the trace, the innermost first."""
    found = filter(None, (_FRAME.match(line.strip()) for line in source_range.splitlines()))
    within = itertools.takewhile(lambda frame: not frame["file"].endswith("torch/jit/_trace.py"), found)
    return [(frame["file"], int(frame["line"]), frame["function"]) for frame in within]


def told(stack: Sequence[Frame]) -> str:
    """Return the innermost line of the project in a stack, and the line of another package behind it."""
    own = next((frame for frame in stack if _is_own(frame[0])), None)
    inner = next((frame for frame in stack if _package(frame[0]) != "torch"), None)
    return " → ".join(_line(frame) for frame in dict.fromkeys((own, inner)) if frame)


def of_class(kind: type) -> str:
    """Return the file and line where a class is defined."""
    try:
        file, (_, line) = inspect.getsourcefile(kind), inspect.getsourcelines(kind)
    except (OSError, TypeError):
        return kind.__qualname__
    return f"{_relative(file or '')}:{line}"


def _line(frame: Frame) -> str:
    file, number, function = frame
    text = linecache.getline(file, number).strip()
    text = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
    return f"{_relative(file)}:{number} in {function}" + (f": {text}" if text else "")


def _relative(file: str) -> str:
    """Return a relative path: an absolute one means nothing on another machine."""
    path = Path(file)
    parts = path.parts
    if "site-packages" in parts:
        return Path(*parts[parts.index("site-packages") + 1 :]).as_posix()
    resolved, root = path.resolve(), project().root.resolve()
    return resolved.relative_to(root).as_posix() if resolved.is_relative_to(root) else path.name


def _is_own(file: str) -> bool:
    of_python = file.startswith("<") or Path(file).is_relative_to(Path(inspect.__file__).parent)
    return not of_python and not _package(file)


def _package(file: str) -> str:
    """Return the installed package that a file is of, or an empty text."""
    _, found, inside = Path(file).as_posix().partition("/site-packages/")
    return inside.split("/")[0] if found else ""
