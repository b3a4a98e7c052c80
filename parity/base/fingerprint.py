"""Fingerprints: everything that made a thing, as a mapping of parts, and its digest."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from parity.base import lockfile
from parity.base.reach import code, tree

__all__ = ["changed", "code", "digest", "libraries", "tree"]

_HASH = re.compile(r'"[0-9a-f]{16}([0-9a-f]{48})?"')


def digest(parts: Mapping[str, Any]) -> str:
    """Return the sha256 of the parts, in whatever order they are given."""
    plain = dict(parts)
    _assert_plain(plain, "the parts")
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return a line for each part that differs; hashes are not shown. Empty only if the digests are equal."""
    old, new = dict(_leaves(before, ())), dict(_leaves(after, ()))
    lines = []
    for path in sorted(old.keys() | new.keys()):
        name, was, now = ".".join(path) or "parts", old.get(path), new.get(path)
        if was == now:
            continue
        said = ["" if value is None or _HASH.fullmatch(value) else value.strip('"') for value in (was, now)]
        if was is None:
            lines.append(f"{name} is new: {said[1]}".removesuffix(": "))
        elif now is None:
            lines.append(f"{name} is gone: it was {said[0]}".removesuffix(": it was "))
        else:
            lines.append(f"{name}: {said[0]} → {said[1]}" if any(said) else f"{name} changed")
    return lines


def libraries(*names: str) -> dict[str, str]:
    """Return the installed versions of distributions, or those that the lock pins for an extra that is not installed.

    names: as a package index has them, such as "scikit-learn".
    """
    versions = {}
    for name in names:
        version = lockfile.version(name) or lockfile.of_an_extra(name)
        if not version:
            raise ValueError(f"{name} is not installed, so there is no version to record; pip install {name}")
        versions[name] = version
    return versions


def _assert_plain(value: Any, name: str) -> None:
    """Refuse what JSON would write like something else: subclasses, tuples, keys that are not text."""
    if type(value) is float and not math.isfinite(value):
        raise ValueError(f"{name} is {value}, which has no place in a fingerprint")
    if type(value) is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise TypeError(f"{name} has the key {key!r}; a fingerprint's keys are str")
            _assert_plain(item, f"{name}.{key}".removeprefix("the parts."))
    elif type(value) is list:
        for index, item in enumerate(value):
            _assert_plain(item, f"{name}[{index}]")
    elif value is not None and type(value) not in (str, int, float, bool):
        kind = type(value).__name__
        raise TypeError(f"{name} is a {kind}; a fingerprint is made of str, int, float, bool, None, list and dict")


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    elif path:
        yield path, json.dumps(value, ensure_ascii=False, sort_keys=True)
