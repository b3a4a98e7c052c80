"""A run, as it is kept: `<root>/runs/<id>/run.json`, and the verdicts that its workers put beside it on the way."""

from __future__ import annotations

import json
import re
import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from parity.base import records
from parity.base.files import write_atomically
from parity.verdict import Verdict

SCHEMA = 1
RECORD = "run.json"
PARTS = "verdicts"

T = TypeVar("T")


class SessionError(ValueError):
    """A run record that is damaged, foreign or contradicts itself; the message names the file and the mend."""


@dataclass(frozen=True)
class Errored:
    """A check that raised: it says nothing about the artifact, and the run fails."""

    id: str
    message: str


@dataclass(frozen=True)
class Skipped:
    id: str
    reason: str


@dataclass(frozen=True)
class RunRecord:
    """Everything that one run found out, and what it had to find out."""

    id: str
    started: str
    seconds: float
    commit: str
    dirty: bool
    command: tuple[str, ...]
    runtime: str
    numerics: tuple[str, ...]
    weights: str
    cases: tuple[str, ...]
    partial: bool
    machine: Mapping[str, str | int]
    expected: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    errors: tuple[Errored, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    not_run_here: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.problems()

    @property
    def failed(self) -> tuple[Verdict, ...]:
        return tuple(verdict for verdict in self.verdicts if not verdict.passed)

    @property
    def missing(self) -> dict[str, str]:
        """Each expected id that has neither a verdict nor an error, and why."""
        judged = {verdict.id for verdict in self.verdicts} | {error.id for error in self.errors}
        reasons = {skip.id: f"skipped: {skip.reason}" for skip in self.skipped}
        return {id: reasons.get(id, "no verdict came") for id in self.expected if id not in judged}

    def problems(self) -> list[str]:
        """Each reason why this run is no pass; empty only where something was judged and all of it held."""
        found = [] if self.verdicts else ["nothing was judged: the run has no verdict at all"]
        found += [f"{id}: expected, but {reason}" for id, reason in self.missing.items()]
        found += [f"{error.id}: the check raised: {error.message}" for error in self.errors]
        counts = Counter(verdict.id for verdict in self.verdicts)
        found += [f"{id}: {count} verdicts where one is expected" for id, count in counts.items() if count > 1]
        return found + [f"{verdict.id}: {first_fault(verdict)}" for verdict in self.failed]

    def as_json(self) -> dict[str, Any]:
        return {"schema": SCHEMA, **asdict(self), "verdicts": [verdict.as_json() for verdict in self.verdicts]}


def first_fault(verdict: Verdict) -> str:
    """The first broken finding of a failed verdict, and how many more there are."""
    if not verdict.findings:
        return "nothing was compared"
    more = len(verdict.failures) - 1
    return verdict.failures[0].line() + (f", and {more} more" if more else "")


def new_id(now: datetime) -> str:
    """An id that sorts by time."""
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


def folder_of(root: Path, id: str) -> Path:
    """Where the run lies under `root`, the `.parity` folder."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", id):
        raise SessionError(f"{id!r} is no id of a run: letters, digits, '.', '_' and '-' only, as new_id() makes them")
    return root / "runs" / id


def add(run_folder: Path, verdict: Verdict) -> Path:
    """Keeps one verdict of a run that is still going. A second verdict of the same id is refused, for it would hide
    the first."""
    path = run_folder / PARTS / f"{quote(verdict.id, safe=' ·')}.json"
    if path.exists():
        raise SessionError(f"{path}: the run has a verdict {verdict.id} already; two checks must not share an id")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, _encode(verdict.as_json()))
    return path


def collect(run_folder: Path) -> list[Verdict]:
    """The verdicts that all workers have kept so far, by id."""
    found = []
    for path in sorted((run_folder / PARTS).glob("*.json")):
        verdict = _verdict(_decode(path), str(path))
        if path.stem != quote(verdict.id, safe=" ·"):
            raise SessionError(f"{path} holds the verdict {verdict.id}; delete the file and run again")
        found.append(verdict)
    return found


def save(record: RunRecord, folder: Path) -> Path:
    """Writes run.json, which makes the run a complete one."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / RECORD, _encode(record.as_json()))
    return folder / RECORD


def load(path: Path) -> RunRecord:
    """Reads a run.json, or the one in a run's folder."""
    path = path / RECORD if path.is_dir() else path
    data = _decode(path)
    if _schema(data) != SCHEMA:
        raise SessionError(f"{path} has schema {_schema(data)!r}, this is schema {SCHEMA}; run again with this version")
    return _record({name: value for name, value in data.items() if name != "schema"}, str(path))


def latest(root: Path) -> RunRecord | None:
    """The newest complete run under `root`; one that was killed has no run.json and is no run."""
    paths = _records(root)
    return load(paths[-1]) if paths else None


def history(root: Path, limit: int = 30) -> list[RunRecord]:
    """The newest complete runs, oldest first. Those of another schema can't be compared and are left out."""
    return [load(path) for path in _records(root)[-limit:] if _schema(_decode(path)) == SCHEMA]


def _records(root: Path) -> list[Path]:
    return sorted((root / "runs").glob(f"*/{RECORD}"), key=lambda path: path.parent.name)


def _schema(data: Any) -> Any:
    return data.get("schema") if isinstance(data, dict) else None


def _encode(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _decode(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes(), parse_constant=lambda name: _refuse(f"{name} is not JSON"))
    except FileNotFoundError:
        raise SessionError(f"{path} does not exist: no complete run lies there; run `pytest -m parity`") from None
    except (ValueError, RecursionError) as error:
        raise SessionError(f"{path} is damaged: {error}; delete the run's folder and run again") from error


def _refuse(message: str) -> Any:
    raise ValueError(message)


def _record(data: Any, place: str) -> RunRecord:
    listed = data.get("verdicts")
    if not isinstance(listed, list):
        raise SessionError(f"{place}: 'verdicts' is missing or no list; delete the run's folder and run again")
    plain = {**data, "verdicts": [_without_claim(item) for item in listed]}
    record = _read(RunRecord, plain, place)
    for index, (verdict, item) in enumerate(zip(record.verdicts, listed, strict=True)):
        _agrees(verdict, item, f"{place}.verdicts[{index}]")
    try:
        datetime.fromisoformat(record.started)
    except ValueError:
        raise SessionError(f"{place}: 'started' is {record.started!r}, no ISO time") from None
    return record


def _verdict(data: Any, place: str) -> Verdict:
    return _agrees(_read(Verdict, _without_claim(data), place), data, place)


def _without_claim(data: Any) -> Any:
    return {name: value for name, value in data.items() if name != "passed"} if isinstance(data, dict) else data


def _agrees(verdict: Verdict, data: Mapping[str, Any], place: str) -> Verdict:
    """A record that says "passed" over findings that do not is a forged or damaged one."""
    if data.get("passed") is not verdict.passed:
        raise SessionError(f"{place} says passed: {data.get('passed')}, its findings say {verdict.passed}")
    return verdict


def _read(kind: type[T], data: Any, place: str) -> T:
    try:
        return records.read(kind, data, place)
    except ValueError as error:
        raise SessionError(f"{error}; delete the run's folder and run again") from None
