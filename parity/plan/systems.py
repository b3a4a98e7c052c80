"""Finds every system there is: each module of `converters/` declares a SYSTEM, or several as SYSTEMS."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import replace
from functools import cache
from types import ModuleType

from parity.base.fingerprint import code
from parity.declarations import Hub, Reference, System

ROOM = "converters"


@cache
def systems() -> dict[str, System]:
    found: dict[str, System] = {}
    for module in pkgutil.iter_modules(importlib.import_module(ROOM).__path__, f"{ROOM}."):
        for system in _declared(importlib.import_module(module.name)):
            if system.name in found:
                raise ValueError(f"{module.name} declares {system.name!r} a second time")
            found[system.name] = system
    return found


def system(name: str) -> System:
    known = systems()
    if name not in known:
        raise ValueError(f"there is no system {name!r}; {ROOM}/ declares {', '.join(sorted(known)) or 'none'}")
    return known[name]


def references() -> dict[str, Reference]:
    """Each once, however many systems share it. Of one name are only those that are one but for what was published:
    with seeded weights they have one truth."""
    found: dict[str, Reference] = {}
    for system in systems().values():
        reference = system.reference
        known = found.setdefault(reference.name, reference)
        if known is not reference and code(known) != code(replace(reference, checkpoint=known.checkpoint)):
            raise ValueError(f"{system.name} has another reference that is named {reference.name!r} as well")
    return found


def checkpoints(reference: str) -> list[Hub]:
    """What was published of a reference, each once."""
    found = (system.reference.checkpoint for system in systems().values() if system.reference.name == reference)
    return list(dict.fromkeys(found))


def _declared(module: ModuleType) -> tuple[System, ...]:
    one, several = getattr(module, "SYSTEM", None), getattr(module, "SYSTEMS", ())
    declared = tuple(several) if one is None else (one, *several)
    if not declared or not all(isinstance(system, System) for system in declared):
        raise TypeError(f"{module.__name__} declares no SYSTEM and no SYSTEMS; every module of {ROOM}/ ports some")
    return declared
