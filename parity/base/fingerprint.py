"""What made a thing, as a mapping of parts, and the digest of it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from parity.base import lockfile
from parity.base.code.reach import code

__all__ = ["changed", "code", "digest", "libraries", "tree"]

_SHORT = 12
_WORD = re.compile(r'"(?!(true|false|null|[0-9.]+)")[\w.+-]+"')


def digest(parts: Mapping[str, Any]) -> str:
    """The sha256 of the parts, in whatever order they are given."""
    return hashlib.sha256(_canonical(parts, "").encode()).hexdigest()


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """A line for each part that differs. Empty only if the digests are equal."""
    old, new = dict(_leaves(before, ())), dict(_leaves(after, ()))
    lines = []
    for path in sorted(old.keys() | new.keys()):
        name = ".".join(path) or "parts"
        if path not in old:
            lines.append(f"{name}: added, {_shorten(new[path])}")
        elif path not in new:
            lines.append(f"{name}: removed, was {_shorten(old[path])}")
        elif old[path] != new[path]:
            short = _shorten(old[path]), _shorten(new[path])
            first, second = short if short[0] != short[1] else (old[path], new[path])
            lines.append(f"{name}: {first} → {second}")
    return lines


def libraries(*names: str) -> dict[str, str]:
    """The installed versions of distributions. Of an extra that is not installed, those that the lock pins."""
    versions = {}
    for name in names:
        try:
            version: str | None = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            version = lockfile.of_an_extra(name)
        if not version:
            raise ValueError(f"{name} is not installed, so there is no version to record; pip install {name}")
        versions[name] = version
    return versions


def tree(path: Path) -> str:
    """The digest of a folder's Python files: their names and contents."""
    files = {file.relative_to(path).as_posix(): file for file in path.rglob("*.py") if file.is_file()}
    if not files:
        raise ValueError(f"{path} has no Python files to fingerprint")
    return digest({name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()})


def _canonical(value: Any, name: str) -> str:
    """JSON with one spelling for each value. Subclasses are refused: they may mean more than JSON shows."""
    if value is None or type(value) in (str, int, bool):
        return json.dumps(value)
    if type(value) is float:
        if not math.isfinite(value):
            raise ValueError(f"{name} is {value}, which has no place in a fingerprint")
        return repr(value)
    if type(value) is list:
        return f"[{','.join(_canonical(item, f'{name}[{index}]') for index, item in enumerate(value))}]"
    if type(value) is dict or (not name and isinstance(value, Mapping)):
        for key in value:
            if type(key) is not str:
                raise TypeError(f"{name or 'the parts'} has the key {key!r}; a fingerprint's keys are str")
        items = (f"{json.dumps(key)}:{_canonical(value[key], f'{name}.{key}'.lstrip('.'))}" for key in sorted(value))
        return f"{{{','.join(items)}}}"
    raise TypeError(
        f"{name or 'the parts'} is a {type(value).__name__}; a fingerprint is made of str, int, float, bool, None, "
        "list and dict"
    )


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    canonical = _canonical(value, ".".join(path))
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    elif path:
        yield path, canonical


def _shorten(canonical: str) -> str:
    """The value as it is read most easily: a text loses its quotes, unless it then looks like another value."""
    text = canonical.strip('"') if _WORD.fullmatch(canonical) else canonical
    return text if len(text) <= _SHORT else f"{text[:_SHORT]}…"
