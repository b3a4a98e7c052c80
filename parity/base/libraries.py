"""Libraries of others: their versions, installed or pinned, and what keeps them in check.

An extra is what only recording some truth again needs. Whoever does not have it is told its versions by its lock,
`requirements-EXTRA.lock`.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from filelock import FileLock
from packaging.utils import canonicalize_name

from parity.base.paths import ProjectError, project

_LOCKS = "requirements-*.lock"
_PIN = re.compile(r"([A-Za-z0-9][\w.-]*)==([\w.!+-]+)")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


def versions(*names: str) -> dict[str, str]:
    """Return the installed versions of distributions, or those that the lock pins for an extra that is not installed.

    names: as a package index has them, such as "scikit-learn".
    """
    found = {}
    for name in names:
        known = version(name) or of_an_extra(name)
        if not known:
            raise ValueError(f"{name} is not installed, so there is no version to record; pip install {name}")
        found[name] = known
    return found


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


def installed(name: str) -> bool:
    """Return whether a distribution is installed."""
    return bool(version(name))


def absent(extra: str, packages: Iterable[str]) -> list[str]:
    """Return those packages of an extra that are not installed; none where no extra is named."""
    return [name for name in packages if not installed(name)] if extra else []


def of_an_extra(name: str) -> str | None:
    """Return the version of a package that one of the project's extras pins; None where none does."""
    try:
        locks = sorted(project().root.glob(_LOCKS))
    except ProjectError:
        return None
    found = {pinned for path in locks if (pinned := pins(path, name).get(canonicalize_name(name)))}
    if len(found) > 1:
        raise ValueError(f"{name} is pinned to {' and '.join(sorted(found))} by {', '.join(map(str, locks))}")
    return next(iter(found), None)


def pins(path: Path, wanted: str = "") -> dict[str, str]:
    """Return the version of each package in a lock, by the name as pip compares it.

    path: the lock.
    wanted: the package that is looked for. Lines about others that pin no version, such as `-e file:.`, are skipped.
    """
    found: dict[str, str] = {}
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    for line in filter(None, lines):
        named = _NAME.match(line)
        if pin := _PIN.fullmatch(line):
            if found.setdefault(canonicalize_name(pin[1]), pin[2]) != pin[2]:
                raise ValueError(f"{path}: {pin[1]} is pinned twice")
        elif not wanted or (named and canonicalize_name(named[0]) == canonicalize_name(wanted)):
            raise ValueError(f"{path}: {line!r} does not pin a version: write NAME==VERSION")
    return found


@cache
def librosa() -> Any:
    """Return librosa, imported late because that takes a second, and by one process at a time.

    numba compiles parts of librosa at its first import and at the first search for pitch, and keeps them beside the
    files of librosa. Two processes that do so at once may mix up what they keep, and every later process then crashes.
    """
    place = sha256(sys.prefix.encode()).hexdigest()[:12]
    with FileLock(Path(tempfile.gettempdir()) / f"parity-librosa-{place}.lock", mode=0o666):
        import librosa as module
        import numpy as np

        noise = np.random.default_rng(0).standard_normal(2048)
        module.feature.melspectrogram(y=noise, sr=8_000, n_fft=512)
        module.pyin(noise, fmin=100, fmax=600, sr=8_000, frame_length=512)
    return module


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use so many threads within the context."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def large_pages() -> None:
    """Have torch ask for huge pages, from its first large tensor on.

    The kernel clears each page. In pages of 4 kB, a vocoder at its largest sizes takes twice the time.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


@contextmanager
def quiet() -> Iterator[None]:
    """Hide warnings of other packages, and log lines up to warnings, within the context. `python -W` shows them."""
    if sys.warnoptions:
        yield
        return
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("default", module=r"parity\.")
            yield
    finally:
        logging.disable(before)
