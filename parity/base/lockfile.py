"""Versions that are pinned for an extra, in `requirements-EXTRA.lock`, and which packages are installed.

An extra is what only recording some truth again needs. Whoever does not have it is told its versions by the lock.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from packaging.utils import canonicalize_name

from parity.base.paths import ProjectError, project

_PATTERN = "requirements-*.lock"
_LINE = re.compile(r"([A-Za-z0-9][\w.-]*)==([\w.!+-]+)")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


def of_an_extra(name: str) -> str | None:
    """Return the version of a package that one of the project's extras pins; None where none does."""
    try:
        locks = sorted(project().root.glob(_PATTERN))
    except ProjectError:
        return None
    found = (pins(path, name).get(canonicalize_name(name)) for path in locks)
    versions = set(filter(None, found))
    if len(versions) > 1:
        raise ValueError(f"{name} is pinned to {' and '.join(sorted(versions))} by {', '.join(map(str, locks))}")
    return next(iter(versions), None)


def pins(path: Path, wanted: str = "") -> dict[str, str]:
    """Return the version of each package in a lock, by the name as pip compares it.

    path: the lock.
    wanted: the package that is looked for. Lines about others that pin no version, such as `-e file:.`, are skipped.
    """
    found: dict[str, str] = {}
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    for line in filter(None, lines):
        match, named = _LINE.fullmatch(line), _NAME.match(line)
        if not match:
            if wanted and (not named or canonicalize_name(named[0]) != canonicalize_name(wanted)):
                continue
            raise ValueError(f"{path}: {line!r} does not pin a version: write NAME==VERSION")
        if found.setdefault(canonicalize_name(match[1]), match[2]) != match[2]:
            raise ValueError(f"{path}: {match[1]} is pinned twice")
    return found


def absent(extra: str, packages: Iterable[str]) -> list[str]:
    """Return those packages of an extra that are not installed; none where no extra is named."""
    return [name for name in packages if not installed(name)] if extra else []


def installed(name: str) -> bool:
    """Return whether a distribution is installed."""
    return bool(version(name))


def version(name: str) -> str | None:
    """Return the version of an installed distribution; None of one that is not."""
    try:
        return _version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


@cache
def _version(name: str) -> str:
    """Read a distribution's metadata once; one that is not installed is looked for each time."""
    return importlib.metadata.version(name)
