"""The keys of `[tool.parity]`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from parity.base import toml
from parity.base.toml import Place, Text


def checked(section: dict[str, Any], source: str, fault: type[ValueError]) -> dict[str, Any]:
    """Return the settings of a section, or raise the fault that names the file, the key and the mend."""
    place = Place(source, fault, ("tool", "parity"))
    found: _Section = toml.checked(_Section, section, place) if section else _Section()
    chosen = found.model_dump(exclude_none=True)
    return {**chosen, "systems": tuple(found.systems)} if found.systems is not None else chosen


def _within(folder: str) -> str:
    if Path(folder).is_absolute() or ".." in Path(folder).parts:
        raise ValueError(f"is {folder!r}, which lies outside of the project")
    return Path(folder).as_posix()


_Folder = Annotated[Text, AfterValidator(_within)]


class _Section(toml.Table):
    systems: list[Text] | None = None
    golden: _Folder | None = None
    state: _Folder | None = None
    cache_gb: Annotated[float, Field(gt=0)] | None = None
