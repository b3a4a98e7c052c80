"""Finds every system there is: each module of `converters/` that declares a SYSTEM."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from parity.declarations import System

ROOM = "converters"


@cache
def systems() -> dict[str, System]:
    found: dict[str, System] = {}
    for module in pkgutil.iter_modules(importlib.import_module(ROOM).__path__, f"{ROOM}."):
        system = getattr(importlib.import_module(module.name), "SYSTEM", None)
        if not isinstance(system, System):
            raise TypeError(f"{module.name} declares no SYSTEM; every module of {ROOM}/ ports one system")
        if system.name in found:
            raise ValueError(f"{module.name} declares {system.name!r} a second time")
        found[system.name] = system
    return found


def system(name: str) -> System:
    known = systems()
    if name not in known:
        raise ValueError(f"there is no system {name!r}; {ROOM}/ declares {', '.join(sorted(known)) or 'none'}")
    return known[name]
