"""The project that is being checked: its root, and what `[tool.parity]` in its pyproject.toml says."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from parity.base import toml
from parity.base.toml import Place, Text

CONFIGURATION, SECTION = "pyproject.toml", "[tool.parity]"
GATES, BUDGETS = "gates.toml", "budgets.toml"


class ProjectError(ValueError):
    """There is no project here, or its configuration is wrong."""


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
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if "parity" not in text:
        return None
    place = Place(str(path), ProjectError)
    try:
        section = tomllib.loads(text).get("tool", {}).get("parity")
    except tomllib.TOMLDecodeError as error:
        raise place.wrong(f"is not TOML: {error}") from None
    return None if section is None else _project(root, section, place.at("tool", "parity"))


def _within(folder: str) -> str:
    if Path(folder).is_absolute() or ".." in Path(folder).parts:
        raise ValueError(f"is {folder!r}, which lies outside of the project")
    return Path(folder).as_posix()


_Folder = Annotated[Text, AfterValidator(_within)]


class _Section(toml.Table):
    systems: Annotated[list[Text], Field(min_length=1)] | None = None
    golden: _Folder | None = None
    state: _Folder | None = None
    cache_gb: Annotated[float, Field(gt=0)] | None = None


def _project(root: Path, section: dict[str, Any], place: Place) -> Project:
    found: _Section = toml.checked(_Section, section, place) if section else _Section()
    chosen = found.model_dump(exclude_none=True)
    return Project(root, **{**chosen, **({"systems": tuple(found.systems)} if found.systems else {})})
