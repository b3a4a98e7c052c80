"""lock.json: provenance, history, and for each case every tensor's shape, dtype, hash and statistics."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError

from parity.base import files
from parity.base.files import read_plain
from parity.golden.errors import DamagedGolden
from parity.golden.provenance import Provenance
from parity.golden.tensors import CaseEntry, Strict

NAME = "lock.json"
MAX_BYTES = 16 << 20
_WIDTH = 320

Texts = Annotated[dict[str, str], Field(min_length=1)]


class Refreshed(Strict):
    """One refresh: its date, its reason, and the cases whose values it changed."""

    date: str
    reason: str
    cases: tuple[str, ...]


class Lock(Strict):
    """The lock of one reference under one set of weights."""

    version: Literal[1] = Field(alias="schema")
    system: Annotated[str, AfterValidator(partial(files.file_name, "system"))]
    packages: Texts
    weights: Texts
    code: Texts
    cases: dict[Annotated[str, AfterValidator(partial(files.file_name, "case"))], CaseEntry]
    history: tuple[Refreshed, ...]

    @property
    def provenance(self) -> Provenance:
        return Provenance(self.packages, self.weights, self.code)


def write(lock: Lock) -> bytes:
    """Return the file's bytes: a tensor to a line, in the order of the data, so that git shows which tensors moved."""
    return (_layout(lock.model_dump(mode="json", by_alias=True, exclude_defaults=True)) + "\n").encode()


def read(path: Path) -> Lock | None:
    """Return the lock, or None where nothing was ever recorded."""
    try:
        return parse(read_plain(path, MAX_BYTES))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise DamagedGolden(path, f"can't be read: {error}", f"git checkout -- {path}") from error


def parse(data: bytes) -> Lock:
    """Return the lock that these bytes are; a ValueError names the part that is wrong."""
    try:
        json.loads(data, object_pairs_hook=_unique)  # pydantic takes the last of two equal names in silence
        return Lock.model_validate_json(data)
    except ValidationError as error:
        first, *more = error.errors(include_url=False, include_context=False)
        place = ".".join(map(str, first["loc"])) or "the file"
        others = f", and {len(more)} more faults" if more else ""
        raise ValueError(f"{place}: {first['msg']}{others}") from error
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError(f"a name is given twice among {', '.join(name for name, _ in pairs)}")
    return content


def _layout(value: Any, indent: str = "") -> str:
    """Return JSON with flat, short values on one line."""
    line = json.dumps(value, ensure_ascii=False, allow_nan=False)
    nested = isinstance(value, dict | list) and any(
        isinstance(item, dict) for item in (value.values() if isinstance(value, dict) else value)
    )
    if not isinstance(value, dict | list) or not value or (not nested and len(line) <= _WIDTH):
        return line
    deeper = indent + "  "
    if isinstance(value, dict):
        items = [f"{json.dumps(name, ensure_ascii=False)}: {_layout(item, deeper)}" for name, item in value.items()]
        return "{\n" + ",\n".join(deeper + item for item in items) + f"\n{indent}}}"
    return "[\n" + ",\n".join(deeper + _layout(item, deeper) for item in value) + f"\n{indent}]"
