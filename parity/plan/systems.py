"""The systems of the project: every module that `[tool.parity]` names declares a SYSTEM, or several as SYSTEMS."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

from parity.base.fingerprint import code
from parity.base.paths import Project, ProjectError, project
from parity.declarations import Hub, Reference, System


def systems() -> dict[str, System]:
    """Return the systems of the project in use, by name."""
    return _systems(project())


@cache
def _systems(project: Project) -> dict[str, System]:
    found: dict[str, System] = {}
    for name, path in modules(project).items():
        for system in declared(name, path):
            if system.name in found:
                raise ValueError(f"{name} declares {system.name!r} a second time")
            found[system.name] = system
    return found


def modules(project: Project) -> dict[str, Path]:
    """Return the modules that declare systems, each with its file, in the order of `[tool.parity]`.

    None of them is imported; the project's root becomes importable.
    """
    if str(project.root) not in sys.path:
        sys.path.insert(0, str(project.root))
    return {name: path for entry in project.systems for name, path in _named(project, entry)}


def declared(name: str, path: Path) -> tuple[System, ...]:
    """Return the systems that a module declares. `path` is its file."""
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not f"{name}.".startswith(f"{error.name}."):
            raise
        module = sys.modules[name.partition(".")[0]]  # another package of the name of its folder
    found_at = str(getattr(module, "__file__", None) or module)
    if Path(found_at).resolve() != path.resolve():
        raise ProjectError(f"{path}: Python takes {module.__name__} from {found_at}: rename the file or its folder")
    one, several = getattr(module, "SYSTEM", None), getattr(module, "SYSTEMS", ())
    if not isinstance(several, Iterable):
        raise ProjectError(f"{path}: SYSTEMS is a {type(several).__name__}; make it a tuple, such as (SYSTEM,)")
    found = tuple(several) if one is None else (one, *several)
    if not found or not all(isinstance(system, System) for system in found):
        raise ProjectError(
            f"{path}: {name} declares no SYSTEM and no SYSTEMS; every module that [tool.parity] names in `systems` has "
            "to. Declare one, or move a helper out of this folder"
        )
    return found


def system(name: str) -> System:
    """Return one system of the project by its name."""
    known = systems()
    if name not in known:
        raise ValueError(f"there is no system {name!r}; the project declares {', '.join(sorted(known)) or 'none'}")
    return known[name]


def references() -> dict[str, Reference]:
    """Return every distinct reference by its name.

    Two systems may share a name only if their references differ in nothing but the published checkpoint: with other
    weights they have one truth.
    """
    found: dict[str, Reference] = {}
    for system in systems().values():
        reference = system.reference
        known = found.setdefault(reference.name, reference)
        if known is not reference and code(known) != code(replace(reference, checkpoint=known.checkpoint)):
            raise ValueError(f"{system.name} has another reference that is named {reference.name!r} as well")
    return found


def checkpoints(reference: str) -> list[Hub]:
    """Return the distinct published checkpoints of a reference."""
    found = (system.reference.checkpoint for system in systems().values() if system.reference.name == reference)
    return list(dict.fromkeys(hub for hub in found if hub))


def _named(project: Project, entry: str) -> Iterator[tuple[str, Path]]:
    """Yield the modules of one entry: a file, each module of a package folder, or a module by its dotted name."""
    path = project.root / entry
    if path.is_dir():
        for found in sorted(path.iterdir()):
            inner = found / "__init__.py" if found.is_dir() else found
            if found.name != "__init__.py" and inner.suffix == ".py" and inner.is_file():
                yield _dotted(project.root, found), inner
    elif path.is_file():
        yield _dotted(project.root, path), path
    else:
        try:
            spec = importlib.util.find_spec(entry)
        except (ImportError, ValueError):
            spec = None
        if spec is None or not spec.origin:
            raise ProjectError(
                f"[tool.parity] names {entry!r} in `systems`, which is neither a file or folder of {project.root} nor "
                "an importable module"
            )
        yield entry, Path(spec.origin)


def _dotted(root: Path, path: Path) -> str:
    """Return the name that a file or package is imported by, and make the folder importable that it starts from."""
    base = path.parent
    while (base / "__init__.py").is_file() and base != root:
        base = base.parent
    if base == path.parent:
        base = root  # a folder without __init__.py is a namespace of the project
    elif str(base) not in sys.path:
        sys.path.insert(0, str(base))
    *packages, last = path.relative_to(base).parts
    name = ".".join((*packages, last.removesuffix(".py")))
    if name.count(".") > len(packages):
        raise ProjectError(f"{path} can't be imported: name it NAME.py, without another dot in the path")
    return name
