"""The project that is being checked: its root, and what `[tool.parity]` in its pyproject.toml says."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CONFIGURATION, SECTION = "pyproject.toml", "[tool.parity]"
GATES, BUDGETS = "gates.toml", "budgets.toml"


class ProjectError(ValueError):
    """Missing project, or one with a wrong configuration."""


@dataclass(frozen=True)
class Project:
    """A project, as `[tool.parity]` describes it.

    root: The folder of its pyproject.toml; all other places are relative to it.
    systems: Where systems are declared: files, package folders, or names of importable modules.
    golden: The folder of goldens, gates, budgets and baselines, which belongs in git.
    state: The folder of the cache and of the records of runs, which does not.
    cache_gb: How large the cache may grow, in gigabytes.
    """

    root: Path
    systems: tuple[str, ...] = ("converters",)
    golden: str = "golden"
    state: str = ".parity"
    cache_gb: float = 5.0

    @property
    def golden_folder(self) -> Path:
        return self.root / self.golden

    @property
    def state_folder(self) -> Path:
        return self.root / self.state


_used: list[Project] = []


def project() -> Project:
    """Return the project in use: the one that `using` names, or else the one that the working directory lies in."""
    if _used:
        return _used[-1]
    found = find(Path.cwd())
    if found is None:
        raise ProjectError(
            f"{Path.cwd()} is in no project: {CONFIGURATION} needs {SECTION}, which `parity init` writes"
        )
    return found


def use(project: Project) -> None:
    """Make this the project in use, until this process ends."""
    _used.append(project)


@contextmanager
def using(project: Project) -> Iterator[None]:
    """Make this the project in use, whatever the working directory is."""
    _used.append(project)
    try:
        yield
    finally:
        _used.remove(project)


def find(start: Path) -> Project | None:
    """Return the project of the nearest pyproject.toml with `[tool.parity]`, in this folder or above it."""
    for folder in (start, *start.parents):
        if found := read(folder):
            return found
    return None


def at(root: Path) -> Project:
    """Return the project with this root, with the usual places where its pyproject.toml does not name others."""
    return read(root) or Project(root)


def read(root: Path) -> Project | None:
    """Return the project with this root; None where its pyproject.toml has no `[tool.parity]`."""
    path = root / CONFIGURATION
    try:
        found = parsed(root, path.read_bytes().decode() if path.is_file() else "", str(path))
    except UnicodeDecodeError as error:
        raise ProjectError(f"{path} is not UTF-8 text: {error}. Save it as UTF-8") from None
    if found is None:
        return None
    for name in (".", found.golden, *found.systems):
        if (root / name).resolve().is_relative_to(found.state_folder.resolve()):
            held = "the project" if name == "." else name
            raise ProjectError(
                f"{path}: {SECTION} state = {found.state!r} is or holds {held}, which must not be removed with the "
                'cache: name a folder of its own, such as state = ".parity"'
            )
    return found


def parsed(root: Path, text: str, source: str) -> Project | None:
    """Return the project that the text of a pyproject.toml describes. `source` is the name of that file in errors."""
    try:
        section = tomllib.loads(text).get("tool", {}).get("parity") if "parity" in text else None
    except tomllib.TOMLDecodeError as error:
        raise ProjectError(f"{source} is not TOML: {error}") from None
    if section is None:
        return None
    from parity.base.toml import settings

    return Project(root, **settings(section, source, ProjectError))
