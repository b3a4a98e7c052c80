"""The gate before a merge: what a change affects, every check of it, and whatever would let the checks pass unearned.

The whole short suite runs, always. Evidence is kept by what made it, so only what the change affects is built and
measured again, and the rest costs a look into the cache; and no list of affected stages can leave one out. What is
affected is reported: it does not decide which checks run.

A green run proves little by itself: a test may be deselected, skipped, deleted, or made to look at other artifacts. So
the verdicts are held against two surveys, of this change and of its base. Each check of either has to have one, unless
it was retired with a reason, and it has to rest on the evidence of this very code, judged by each of its gates.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from filelock import FileLock, Timeout

from parity.base.cache import Cache
from parity.base.fingerprint import digest
from parity.base.paths import at
from parity.gate import affected, bounds, coverage, git, retired, survey
from parity.gate.affected import Affected
from parity.gate.coverage import Problem
from parity.gate.git import Revision
from parity.gate.loosening import Loosening
from parity.gate.retired import Retired
from parity.gate.survey import Survey, SurveyError
from parity.record import run
from parity.record.run import RunRecord, SessionError

KIND = "survey"
_FILE = "survey.json"
_ENDED = {
    0: "all its tests passed",
    1: "tests failed",
    2: "interrupted, or a file of tests could not be imported",
    3: "an internal error",
    4: "its command line or configuration was not understood",
    5: "no test was found",
}
# What would select tests, or add a plugin that does.
_OF_PYTEST = ("PYTEST_ADDOPTS", "PYTEST_PLUGINS")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """Findings of the gate. `problems` are those that the record of the run does not show by itself."""

    base: Revision
    commit: str
    files: tuple[str, ...]
    affected: tuple[Affected, ...]
    loosenings: tuple[Loosening, ...]
    retired: tuple[Retired, ...]
    record: RunRecord | None
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return self.record is not None and self.record.passed and not self.problems


def gate(root: Path, name: str, say: Say = print) -> Outcome:
    """Check the working tree at `root` against the revision `name`, or raise a RevisionError."""
    base = git.base(root, name)
    files = tuple(git.changed_files(root, base.commit))
    problems, notes = [], []
    now, fault = _asked(root)
    if fault:
        problems.append(Problem("this code", f"doesn't say what there is to check: {fault}"))
    before, unknown = (now, fault) if not files else _surveyed(root, base.commit)
    if unknown and files:
        unknown = f"the base, {base.commit[:12]}, doesn't say what it checks: {unknown}"
        notes.append(f"everything counts as affected, and nothing tells which checks went: {unknown}")
    rows = affected.affected(before, now, unknown) if now else []
    _tell(say, base, files, rows)
    moved, gone, wrong = _taken_away(root, base.commit, before, now)
    problems += wrong
    if now:
        problems += [Problem("beside the checks", line) for line in now.problems]
        notes += affected.budgets(before, now)
    record, missing = _run(root)
    problems += missing
    if record and now:
        problems += coverage.uncovered(record, now)
        notes += _not_of_this_change(record, rows)
    return Outcome(
        base,
        git.head(root),
        files,
        tuple(rows),
        tuple(moved),
        tuple(gone),
        record,
        tuple(problems),
        tuple(notes),
    )


@contextmanager
def alone(root: Path, say: Say = print) -> Iterator[None]:
    """Allow one gate at a time for a working tree. SIGTERM ends what was started and removes what is temporary."""
    lock = FileLock(at(root).state_folder / "gate.lock")
    (at(root).state_folder).mkdir(exist_ok=True)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say("another gate is at work here; this one waits for it")
        lock.acquire()
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        lock.release()


def _leave(number: int, frame: object) -> NoReturn:
    sys.exit(128 + number)


def _asked(root: Path) -> tuple[Survey | None, str]:
    try:
        return survey.ask(root), ""
    except SurveyError as error:
        return None, str(error)


def _surveyed(root: Path, commit: str) -> tuple[Survey | None, str]:
    """Return the survey of a commit, by the commit's own code. It is stored: it depends only on what is installed."""
    made_by = {
        "commit": commit,
        "schema": survey.SCHEMA,
        "machine": platform.platform(),
        "python": platform.python_version(),
        "installed": sorted(f"{one.name} {one.version}" for one in importlib.metadata.distributions()),
    }

    def make(folder: Path) -> None:
        with git.checked_out(root, commit, at(root).state_folder / "base") as there:
            (folder / _FILE).write_text(survey.encode(survey.ask(there)))

    try:
        return survey.decode((Cache.of(at(root)).get(KIND, digest(made_by), make, made_by) / _FILE).read_text()), ""
    except SurveyError as error:
        return None, str(error)


def _taken_away(
    root: Path, commit: str, before: Survey | None, now: Survey | None
) -> tuple[list[Loosening], list[Retired], list[Problem]]:
    try:
        old, new = bounds.of_commit(root, commit), bounds.of_tree(root)
    except ValueError as error:
        return [], [], [Problem("bounds", f"they can't be compared with those of the base: {error}")]
    moved = bounds.loosenings(old, new)
    gone = retired.retired(before, now, old.reasons, new.reasons) if before and now else []
    problems = [Problem(one.name, f"{one.old} → {one.new}: {one.problem}") for one in moved if one.problem]
    problems += [Problem(one.name, one.problem) for one in gone if one.problem]
    return moved, gone, problems


def junit(root: Path) -> Path:
    """Return the file that the gate has pytest write, with the properties of each check."""
    return at(root).state_folder / "gate" / "junit.xml"


def _run(root: Path) -> tuple[RunRecord | None, list[Problem]]:
    """Run the suite under an id of our own, so that no other record can be taken for this run's."""
    id = run.new_id(datetime.now(UTC))
    environment = {name: value for name, value in os.environ.items() if name not in _OF_PYTEST}
    command = [sys.executable, "-m", "pytest", "-m", "parity", "--parity-run-id", id, f"--junitxml={junit(root)}"]
    code = subprocess.run(command, cwd=root, env=environment).returncode
    ended = f"pytest ended with {code}: {_ENDED.get(code, 'killed' if code < 0 else 'unknown')}"
    try:
        record = run.load(run.folder_of(at(root).state_folder, id))
    except SessionError as error:
        why = "no record came" if not (run.folder_of(at(root).state_folder, id) / run.RECORD).exists() else str(error)
        return None, [Problem("the run", f"{why}; {ended}")]
    problems = []
    if record.id != id:
        problems.append(Problem("the run", f"its record is that of another, {record.id}"))
    if record.partial:
        problems.append(Problem("the run", "it was a partial one: some checks were selected away"))
    if code and (record.passed or code != 1):
        problems.append(Problem("the run", f"{ended}, beside the checks: see above what failed"))
    return record, problems


def _not_of_this_change(record: RunRecord, rows: list[Affected]) -> list[str]:
    touched = {id for row in rows for id in row.affected}
    failed = [verdict.id for verdict in record.failed if verdict.id not in touched]
    return [f"not of this change's making, for it doesn't affect them: {', '.join(failed)}"] if failed else []


def _tell(say: Say, base: Revision, files: tuple[str, ...], rows: list[Affected]) -> None:
    if files:
        say(f"{len(files)} files changed since {base.commit[:12]}, where this left {base.name}")
    else:
        say(f"nothing changed since {base.commit[:12]}, which is in {base.name}; every check is made all the same")
    for row in rows:
        say(f"  {row.line()}")
