"""Frozen dataclasses as JSON files, read strictly: no field is unknown, each is of its declared type.

A file holds `{"schema": 2, "passed": true, "record": {…}}`. `passed` is the record's own property, null where it has
none; a file whose claim differs from what its record says is refused. NaN and infinities are written as strings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from parity.base.files import write_atomically

T = TypeVar("T")


class _Schema(BaseModel):
    number: int = Field(alias="schema")


class _Document(_Schema, Generic[T]):
    model_config = ConfigDict(extra="forbid", strict=True, ser_json_inf_nan="strings")

    passed: bool | None
    record: T


def save(record: object, path: Path, schema: int) -> Path:
    """Write a record in one step.

    record: an instance of a dataclass.
    schema: the number of the record's format; files of another number are refused when read.
    """
    write_atomically(path, text(record, schema))
    return path


def text(record: object, schema: int) -> bytes:
    """Return the content of a record's file."""
    document: BaseModel = _of(type(record))(schema=schema, passed=_claim(record), record=record)
    return document.model_dump_json(indent=1, by_alias=True).encode() + b"\n"


def load(kind: type[T], path: Path, schema: int, fault: type[ValueError], mend: str) -> T:
    """Read the record of a file. Raise `fault`, with the place in the file and the mend, where it is not one."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise fault(f"{path} does not exist; {mend}") from None
    except OSError as error:
        raise fault(f"{path} cannot be read: {error}; {mend}") from error
    try:
        document = _of(kind).model_validate_json(content)
    except ValidationError as error:
        number = _number(content)
        if number not in (None, schema):
            raise fault(f"{path} has schema {number}, this version reads schema {schema}; {mend}") from error
        raise fault(f"{path} is damaged: {_first(error)}; {mend}") from error
    if document.number != schema:
        raise fault(f"{path} has schema {document.number}, this version reads schema {schema}; {mend}")
    if document.passed != (claim := _claim(document.record)):
        raise fault(f"{path} is damaged: it says passed: {document.passed}, its findings say {claim}; {mend}")
    record: T = document.record
    return record


def of_schema(path: Path, schema: int) -> bool:
    """Tell if a file is one to load: that of another schema is not, a damaged one is, so that loading says why."""
    try:
        return _number(path.read_bytes()) in (None, schema)
    except OSError:
        return True


def _number(content: bytes) -> int | None:
    """Return the number of the schema that a file says it has; None where it says none."""
    try:
        return _Schema.model_validate_json(content).number
    except ValidationError:
        return None


def _of(kind: type) -> Any:
    return _Document[kind]  # type: ignore[valid-type]


def _claim(record: object) -> bool | None:
    return getattr(record, "passed", None)


def _first(error: ValidationError) -> str:
    """Return the first fault of several, with its place: `record.verdicts[0].findings[0].value is 'high'`."""
    found: Any = error.errors(include_url=False)[0]
    if not found["loc"]:
        return str(found["msg"])
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in found["loc"]).lstrip(".")
    given = "" if found["type"] in ("missing", "unexpected_keyword_argument") else f" is {found['input']!r:.60}"
    return f"{place}{given}: {found['msg']}"
