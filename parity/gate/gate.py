"""The gate before a merge: a run of every check, and whatever would let the checks pass unearned.

The whole short suite runs, always. Evidence is kept by what made it, so only what a change affects is built and
measured again. What is affected is reported: it does not decide which checks run.

A green run proves little by itself: a test may be deselected, skipped, deleted, or made to look at other artifacts. So
each check that the code declares needs a verdict that rests on the evidence of this very code, judged by each of its
gates; and a bound that is looser than at the base, or gone, needs a reason.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from filelock import FileLock, Timeout

from parity.base.paths import at, using
from parity.base.text import many
from parity.gate import bounds, coverage, git
from parity.gate.bounds import Declared, Loosening
from parity.gate.coverage import Expected, Problem
from parity.gate.git import Revision
from parity.plan.systems import systems
from parity.record import run
from parity.record.run import RunRecord, SessionError
from parity.record.suite import Options, Suite

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
# Prints the short cases of the project in the working directory, by reference. What is imported from below the root in
# its argument is imported from the same place here.
_SHORT = """
import json, os, sys
sys.path[:0] = [path.replace(sys.argv[1], os.getcwd(), 1) for path in sys.path if path.startswith(sys.argv[1])]
from parity.plan.systems import systems
found = {one.reference.name: one.reference.cases for one in systems().values()}
print("\\n" + json.dumps({name: [case.name for case in cases if case.short] for name, cases in found.items()}))
"""


@dataclass(frozen=True)
class Row:
    """The checks of one stage of a system, the chain being one too, and how many of them the change affects."""

    system: str
    stage: str
    checks: int
    affected: int


@dataclass(frozen=True)
class Outcome:
    """The result of the gate.

    base, commit: what the change is compared with, and HEAD.
    files: the files that differ.
    rows: the checks by stage. Affected are those whose evidence differs from `compared`, a run of the base, or where
        none is remembered those that were measured anew.
    loosenings: what became easier to pass.
    record: the record of the run; None where none came.
    problems: those that the record does not tell by itself.
    notes: what is worth knowing and fails nothing.
    """

    base: Revision
    commit: str
    files: tuple[str, ...]
    rows: tuple[Row, ...]
    compared: str
    loosenings: tuple[Loosening, ...]
    record: RunRecord | None
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return self.record is not None and self.record.passed and not self.problems


def gate(root: Path, name: str) -> Outcome:
    """Check the working tree at `root` against the revision `name`.

    A RevisionError says why the revision can't be told.
    """
    base = git.base(root, name)
    files = tuple(git.changed_files(root, base.commit))
    since = f"{base.commit[:12]}, the base in {base.name}"
    print(f"{many(len(files), 'file')} changed since {since}; every check is made", flush=True)
    stamps = _stamps(root, files)
    remembered = _at_the_base(root, base.commit)
    with _running(root) as (id, process):  # beside it, for both import the systems and read their sources
        declared, checks, faults = _declared(root)
        moved, unexplained, silent = _taken_away(root, base.commit, declared, bool(files))
        record, problems = _ended(root, id, process.wait())
    uncovered = [*faults, *(coverage.uncovered(record, checks) if record else [])]
    if _stamps(root, git.changed_files(root, base.commit)) != stamps:
        uncovered.append(Problem("the working tree", "its code changed while the gate ran: run it again"))
    return Outcome(
        base,
        git.head(root),
        files,
        tuple(_rows(record, remembered)) if record else (),
        remembered.id if remembered else "",
        tuple(moved),
        record,
        (*problems, *unexplained, *uncovered),
        (*_notes(record, remembered), *silent),
    )


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Let one gate at a time work in a tree. A polite kill ends what was started and leaves by the way of errors."""
    lock = FileLock(at(root).state_folder / "gate.lock")
    at(root).state_folder.mkdir(parents=True, exist_ok=True)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print("another gate is at work here; this one waits for it", flush=True)
        lock.acquire()
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        lock.release()


def _taken_away(
    root: Path, commit: str, declared: Declared | None, changed: bool
) -> tuple[list[Loosening], list[Problem], list[str]]:
    """Return what became easier to pass since the commit, what is wrong with that, and what could not be compared."""
    try:
        before, now = bounds.of_commit(root, commit), bounds.of_tree(root)
        short, notes = _short_at(root, commit) if changed and before.cases else ({}, [])
        moved = bounds.loosenings(replace(before, short=short), now, declared)
    except ValueError as error:
        return [], [Problem("bounds", f"they can't be compared with those of the base: {error}")], []
    if now.gates and not before.gates:
        notes.append("the base has no gates, so those of this tree were compared with none")
    return moved, [Problem(one.name, f"{one.old} → {one.new}: {one.problem}") for one in moved if one.problem], notes


def _short_at(root: Path, commit: str) -> tuple[dict[str, list[str]], list[str]]:
    """Return the short cases by reference, as the code of a commit declares them, and a note if it can't say."""
    try:
        with TemporaryDirectory() as folder:
            git.export(root, commit, Path(folder))
            command = [sys.executable, "-c", _SHORT, str(root)]
            said = subprocess.check_output(command, cwd=folder, text=True, timeout=git.SECONDS)
        return json.loads(said.splitlines()[-1]), []
    except Exception as error:  # it was written for other libraries, perhaps
        return {}, [f"the code of the base does not say which cases were short, see above: {type(error).__name__}"]


def _declared(root: Path) -> tuple[Declared | None, list[Expected], list[Problem]]:
    """Return what the code declares, None where it can't say; the checks of a complete run; what is wrong."""
    try:
        with using(at(root)), redirect_stdout(sys.stderr):  # a converter may print when it is imported
            suite = Suite(Options(), "gate", at(root))
            references = [system.reference for system in systems().values()]
            cases = {one.name: {case.name: case.short for case in one.cases} for one in references}
            return Declared(systems(), cases), coverage.expected(suite), list(coverage.faults(suite))
    except Exception as error:  # whatever an edit has broken
        said = f"does not say what there is to check: {type(error).__name__}: {error}"
        return None, [], [Problem("this code", said)]


def _stamps(root: Path, files: Collection[str]) -> dict[str, int]:
    """Return when each changed file of code or bounds was written."""
    paths = (root / name for name in files if name.endswith((".py", ".toml")))
    return {str(path): path.stat().st_mtime_ns for path in paths if path.exists()}


def _at_the_base(root: Path, commit: str) -> RunRecord | None:
    """Return the newest complete run of the base commit that this machine remembers."""
    state = at(root).state_folder
    for one in reversed(run.history(state)):
        if one.commit == commit and not one.partial and not one.dirty:
            return run.load(run.folder_of(state, one.id))
    return None


def _rows(record: RunRecord, base: RunRecord | None) -> Iterator[Row]:
    before = {verdict.id: verdict.evidence for verdict in base.verdicts} if base else {}
    stages: dict[tuple[str, str], list[bool]] = {}
    for verdict in record.verdicts:
        moved = verdict.evidence != before.get(verdict.id) if base else not verdict.reused
        stages.setdefault((verdict.check.system, verdict.check.stage), []).append(moved)
    for (system, stage), found in stages.items():
        yield Row(system, stage, len(found), sum(found))


def _notes(record: RunRecord | None, base: RunRecord | None) -> Iterator[str]:
    if record is None or base is None:
        return
    now, before = ({verdict.id: verdict for verdict in one.verdicts} for one in (record, base))
    if gone := [id for id in before if id not in now]:
        yield f"{len(gone)} checks of run {base.id} at the base are not made any more, such as {gone[0]}"
    for verdict in record.failed:
        if verdict.id in before and verdict.evidence == before[verdict.id].evidence:
            yield f"{verdict.id} measures the same at the base: this change does not make it fail"


def junit(root: Path) -> Path:
    """Return the file that the gate has pytest write, with the properties of each check."""
    return at(root).state_folder / "gate" / "junit.xml"


@contextmanager
def _running(root: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run the suite under an id of our own, so that no other record can be taken for this run's."""
    id = run.new_id(datetime.now(UTC))
    environment = {name: value for name, value in os.environ.items() if name not in _OF_PYTEST}
    command = [sys.executable, "-m", "pytest", "-m", "parity", "--parity-run-id", id, f"--junitxml={junit(root)}"]
    with subprocess.Popen(command, cwd=root, env=environment) as process:
        try:
            yield id, process
        except BaseException:
            process.kill()
            raise


def _ended(root: Path, id: str, code: int) -> tuple[RunRecord | None, list[Problem]]:
    """Return the record of a run that ended, and what is wrong with it."""
    ended = f"pytest ended with {code}: {_ENDED.get(code, 'killed' if code < 0 else 'unknown')}"
    folder = run.folder_of(at(root).state_folder, id)
    try:
        record = run.load(folder)
    except SessionError as error:
        why = str(error) if (folder / run.RECORD).exists() else "no record came"
        return None, [Problem("the run", f"{why}; {ended}")]
    faults = {
        f"its record is that of another, {record.id}": record.id != id,
        "it was a partial one: some checks were selected away": record.partial,
        f"{ended}, beside the checks: see above what failed": code and (record.passed or code != 1),
    }
    return record, [Problem("the run", fault) for fault, found in faults.items() if found]
