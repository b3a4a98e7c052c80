"""A run, as it is kept: `<root>/runs/<id>/run.json`, and the verdicts that its workers put beside it on the way.

While it is under way, a lock says so; what runs leave that were killed is swept away.
"""

from __future__ import annotations

import os
import platform
import re
import secrets
import shutil
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, unquote

from filelock import FileLock, Timeout

from parity.base import records
from parity.base.files import writing
from parity.base.libraries import versions
from parity.base.text import many
from parity.verdict import Check, Number, Verdict, share

SCHEMA = 2
RECORD = "run.json"
EXCERPT = "excerpt.json"
PARTS = "verdicts"
AGAIN = "delete the run's folder and run `pytest -m parity` again"


class SessionError(ValueError):
    """A run record that is damaged, foreign or contradicts itself; the message names the file and the mend."""


@dataclass(frozen=True)
class Errored:
    """A check, or another test under the mark, that raised: it says nothing of the artifact, and the run fails."""

    id: str
    message: str


@dataclass(frozen=True)
class Skipped:
    id: str
    reason: str


@dataclass(frozen=True)
class LeftOut:
    """A check that the run did not make, or the item of a system's gates.

    system, stage: what it is of; "gates" for a system's gates.
    by: what removed it or stood in its way, where that was not the run's own command line.
    """

    id: str
    system: str
    stage: str
    by: str = ""


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """Name of a run, and what it was made of."""

    id: str
    started: datetime
    commit: str
    dirty: bool
    partial: bool
    runtime: str
    numerics: tuple[str, ...]
    weights: str


@dataclass(frozen=True, kw_only=True)
class Excerpt(Conditions):
    """Conditions of a run and its worst values. Its file is read in a hundredth of the time of the record's.

    worst: the largest share of its bound that any value of a gate used up, by `SYSTEM STAGE GATE`.
    """

    worst: Mapping[str, Number]


@dataclass(frozen=True, kw_only=True)
class RunRecord(Conditions):
    """Everything that one run found out, and the checks that it had to judge."""

    seconds: float
    command: tuple[str, ...]
    cases: tuple[str, ...]
    machine: Mapping[str, str | int]
    expected: tuple[Check, ...]
    verdicts: tuple[Verdict, ...]
    errors: tuple[Errored, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    not_run_here: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.problems()

    @property
    def failed(self) -> tuple[Verdict, ...]:
        return tuple(verdict for verdict in self.verdicts if not verdict.passed)

    @property
    def missing(self) -> dict[Check, str]:
        """Each expected check that has neither a verdict nor an error, and the reason."""
        judged = {verdict.check for verdict in self.verdicts}
        raised = {error.id for error in self.errors}
        reasons = {skip.id: f"skipped: {skip.reason}" for skip in self.skipped}
        return {
            check: reasons.get(check.id, "no verdict came")
            for check in self.expected
            if check not in judged and check.id not in raised
        }

    @property
    def not_judged(self) -> list[str]:
        """Each reason why checks were not judged that the command line did not ask for, with their number and names."""
        removed = [one for one in self.left_out if one.by]
        reasons = dict.fromkeys(one.by for one in removed)
        return [f"{self.parts(one for one in removed if one.by == by)}: {by}" for by in reasons]

    def problems(self) -> list[str]:
        """Return each reason why this run is not a pass; none only if something was judged and all of it held."""
        found = [] if self.verdicts else ["nothing was judged: the run has no verdict at all"]
        found += [f"{check.id}: expected, but {reason}" for check, reason in self.missing.items()]
        found += [f"not judged: {said}" for said in self.not_judged]
        found += [f"{error.id}: the check raised: {error.message}" for error in self.errors]
        counts = Counter(verdict.id for verdict in self.verdicts)
        found += [f"{id}: {count} verdicts where one is expected" for id, count in counts.items() if count > 1]
        return found + [f"{verdict.id}: {first_fault(verdict)}" for verdict in self.failed]

    def parts(self, left_out: Iterable[LeftOut]) -> str:
        """Return the number of checks, then those of each system; of a system that was judged in part, by stage too."""
        systems: dict[str, Counter[str]] = defaultdict(Counter)
        for one in left_out:
            systems[one.system][one.stage] += 1
        judged = {check.system for check in self.expected}
        said = []
        for system, stages in systems.items():
            of = ", ".join(f"{stage} {count}" for stage, count in stages.items())
            said.append(f"{system} {stages.total()}" + (f" ({of})" if system in judged else ""))
        return f"{many(sum(map(Counter.total, systems.values())), 'check')}: {', '.join(said)}"


def excerpt(record: RunRecord) -> Excerpt:
    """Return the excerpt of a record."""
    worst: dict[str, float] = {}
    for verdict in record.verdicts:
        for finding in verdict.findings:
            if (used := share(finding)) is not None:
                gate = f"{verdict.check.system} {verdict.check.stage} {finding.gate}"
                worst[gate] = max(used, worst.get(gate, 0.0))
    return Excerpt(**{field.name: getattr(record, field.name) for field in fields(Conditions)}, worst=worst)


def first_fault(verdict: Verdict) -> str:
    """Return the first broken finding of a failed verdict, and the number of the others."""
    if not verdict.findings:
        return "nothing was compared"
    more = len(verdict.failures) - 1
    return verdict.failures[0].line() + (f", and {more} more" if more else "")


def new_id(now: datetime) -> str:
    """Return an id that sorts by time."""
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


def folder_of(root: Path, id: str) -> Path:
    """Return the folder of a run under `root`, the `.parity` folder."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", id):
        raise SessionError(f"{id!r} is not an id of a run: use letters, digits, '.', '_' and '-', as new_id() does")
    return root / "runs" / id


def add(run_folder: Path, verdict: Verdict) -> Path:
    """Write one verdict of a run that is still going. A second one of the same check would hide the first: refused."""
    path = run_folder / PARTS / f"{quote(verdict.id, safe=' ·')}.json"
    if path.exists():
        raise SessionError(f"{path}: the run has a verdict on {verdict.id} already; two checks must not share an id")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    # In one step, but without waiting for the disk hundreds of times: the run outlives no loss of power either.
    with writing(run_folder):
        temporary.write_bytes(records.text(verdict, SCHEMA))
        temporary.replace(path)
    return path


def collect(run_folder: Path) -> list[Verdict]:
    """Read the verdicts that all workers have written so far, by id."""
    found = []
    for path in sorted((run_folder / PARTS).glob("*.json")):
        verdict = records.load(Verdict, path, SCHEMA, SessionError, AGAIN)
        _refuse_false_passes([verdict], path)
        if path.stem != quote(verdict.id, safe=" ·"):
            raise SessionError(f"{path} holds the verdict on {verdict.id}; delete the file and run again")
        found.append(verdict)
    return found


def judged(run_folder: Path) -> set[str]:
    """Return the ids of the checks whose verdicts lie there so far."""
    return {unquote(path.stem) for path in (run_folder / PARTS).glob("*.json")}


def save(record: RunRecord, folder: Path) -> Path:
    """Write run.json, which makes the run a complete one, then its excerpt."""
    folder.mkdir(parents=True, exist_ok=True)
    path = records.save(record, folder / RECORD, SCHEMA)
    records.save(excerpt(record), folder / EXCERPT, SCHEMA)
    return path


def load(path: Path) -> RunRecord:
    """Read a run.json, or the one in a run's folder."""
    path = path / RECORD if path.is_dir() else path
    record = records.load(RunRecord, path, SCHEMA, SessionError, AGAIN)
    _refuse_false_passes(record.verdicts, path)
    return record


def latest(root: Path) -> RunRecord | None:
    """Read the newest complete run under `root`. A run that was killed has no run.json and does not count."""
    paths = _records(root)
    return load(paths[-1]) if paths else None


def history(root: Path, limit: int = 30) -> list[Excerpt]:
    """Read the excerpts of the newest complete runs, oldest first, without those of another schema."""
    return [found for path in _records(root)[-limit:] if (found := _excerpt(path))]


def _records(root: Path) -> list[Path]:
    return sorted((root / "runs").glob(f"*/{RECORD}"), key=lambda path: path.parent.name)


def _excerpt(path: Path) -> Excerpt | None:
    """Return the excerpt of a record; None for a record of another schema.

    Where its file is missing, damaged or outdated, the excerpt is made from the record.
    """
    short = path.with_name(EXCERPT)
    if short.exists() and short.stat().st_mtime_ns >= path.stat().st_mtime_ns:
        with suppress(SessionError):
            return records.load(Excerpt, short, SCHEMA, SessionError, AGAIN)
    return excerpt(load(path)) if records.of_schema(path, SCHEMA) else None


def _refuse_false_passes(verdicts: Iterable[Verdict], path: Path) -> None:
    """Refuse a finding that says "passed" over a value that breaks its bound: it is forged or damaged."""
    for verdict in verdicts:
        for found in verdict.findings:
            if found.passed and found.bound and not (found.value is not None and found.bound.holds(found.value)):
                raise SessionError(f"{path}: {verdict.id} says passed: True of {found.line()}; {AGAIN}")


def claim(root: Path, id: str) -> FileLock:
    """Mark the run as under way, until its process ends or releases it. `root` is the `.parity` folder."""
    lock = _lock(root, id)
    lock.acquire()
    while not Path(lock.lock_file).exists():  # a sweep took it for a dead one's before it was held
        lock.release()
        lock.acquire()
    return lock


def let_go(lock: FileLock) -> None:
    lock.release()
    Path(lock.lock_file).unlink(missing_ok=True)


def sweep(root: Path) -> None:
    """Remove the leftovers of runs that were killed, which have neither a record nor a living process."""
    ids = {path.name for path in (root / "runs").glob("*/") if not (path / RECORD).exists()}
    ids |= {path.name.removeprefix("run.").removesuffix(".lock") for path in (root / "locks").glob("run.*.lock")}
    for id in sorted(ids):
        lock, folder = _lock(root, id), root / "runs" / id
        with suppress(Timeout):
            lock.acquire(timeout=0)
            if folder.is_dir() and not (folder / RECORD).exists():  # which may have come until the lock was had
                _clear(folder)
            let_go(lock)


def _clear(folder: Path) -> None:
    """Remove a run's leftovers; other files, such as the times of a bench, stay."""
    known = (folder / PARTS, folder / "report.html", folder / "report.md", *folder.glob(".*.tmp"))
    found = [path for path in known if path.exists()]
    for path in found:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    if found and not any(folder.iterdir()):
        folder.rmdir()


def _lock(root: Path, id: str) -> FileLock:
    return FileLock(root / "locks" / f"run.{id}.lock")


def machine() -> dict[str, str | int]:
    return {
        "system": platform.system(),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count() or 0,
        "python": platform.python_version(),
        **versions("torch", "coremltools"),
    }


def git(root: Path, *arguments: str) -> str:
    """Return git's output; empty without git or a repository."""
    try:
        found = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.strip()
