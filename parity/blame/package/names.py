"""The names of values in a package and in the traced module: the converter keeps them, in its own spelling."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable

_CAST = re.compile(r"(_cast_fp(16|32)|_to_fp(16|32))+$")


def spelled(torch_name: str) -> str:
    """Return a name of torch's graph as the converter writes it: a number becomes var_<n>, a dot an underscore."""
    name = re.sub(r"[^A-Za-z0-9_]", "_", torch_name)
    return name if re.match(r"[A-Za-z_]", name) else f"var_{name}"


def plain(package_name: str) -> str:
    """Return a name of the package without what the converter's passes put around it."""
    name = _CAST.sub("", package_name)
    return spelled(name.removeprefix("_inversed_"))


def matching(torch_names: Iterable[str], package_names: Iterable[str]) -> dict[str, str]:
    """Return, for each name of torch's graph, the first value of the package that bears it, if unambiguous."""
    torch_names = list(torch_names)
    told = Counter(spelled(name) for name in torch_names)
    first: dict[str, str] = {}
    for name in package_names:
        first.setdefault(plain(name), name)
    return {name: first[spelled(name)] for name in torch_names if spelled(name) in first and told[spelled(name)] == 1}


def closure(names: Iterable[str], before: Callable[[str], Iterable[str]]) -> set[str]:
    """Return some values, and all that they are made of; `before` gives those that one is made of directly."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        if (name := waiting.pop()) not in found:
            found.add(name)
            waiting += before(name)
    return found


def is_anonymous(torch_name: str) -> bool:
    """Return whether a name is a number, which another version of the module gives another value."""
    return torch_name.isdigit()


def family(torch_name: str) -> str:
    """Return a name without the number that tells it from others alike, as in `input.3`."""
    return re.sub(r"\.\d+$", "", torch_name)
