"""The state of the recorded truth of a system, and the proof that its reference still computes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from parity.declarations import Case
from parity.golden import case_file, lock
from parity.golden.changes import Report
from parity.golden.errors import DamagedGolden, GoldenError, MissingGolden, StaleGolden
from parity.golden.refresh import Say, diff
from parity.golden.store import GoldenStore
from parity.plan.weights import PREFIX

State = Literal["fresh", "stale", "missing", "damaged"]
_STATES: dict[type[GoldenError], State] = {StaleGolden: "stale", MissingGolden: "missing", DamagedGolden: "damaged"}


@dataclass(frozen=True)
class CaseStatus:
    """The state of one case. Large tensors that are not at hand are recorded again at first use."""

    case: str
    state: State
    why: str = ""
    mend: str = ""
    bytes: int = 0
    at_hand: bool = True

    def __str__(self) -> str:
        note = self.why or ("" if self.at_hand else "large tensors are recorded again at first use")
        size = _size(self.bytes) if self.bytes else ""
        return f"  {self.case:<16} {self.state:<8} {size:>9}  {note}".rstrip()


@dataclass(frozen=True)
class Status:
    """The state of a system under one set of weights. Faults keep it from being fresh, notes do not."""

    title: str
    cases: tuple[CaseStatus, ...]
    faults: list[str]
    notes: list[str]

    @property
    def fresh(self) -> bool:
        return {case.state for case in self.cases} == {"fresh"} and not self.faults

    def __str__(self) -> str:
        mends = dict.fromkeys(case.mend for case in self.cases if case.mend)
        said = [*self.faults, *self.notes, *(f"mend: {mend}" for mend in mends)]
        return "\n".join([self.title, *map(str, self.cases), *(f"  {line}" for line in said)])


def status(store: GoldenStore) -> Status:
    cases = tuple(_case(store, case) for case in store.reference.cases)
    size = _size(sum(path.stat().st_size for path in _own(store.folder)))
    where = "in git" if store.weights.in_git else "on this machine"
    title = f"{store.reference.name}, {store.weights} weights: {len(cases)} cases, {size} {where}"
    unfinished = "an unfinished refresh left recordings: refresh again to go on with it"
    return Status(title, cases, strays(store), [unfinished] if store.transaction.files() else [])


def verify(store: GoldenStore, cases: Sequence[Case] = (), say: Say = print) -> tuple[Report, list[str]]:
    """Record cases again, all where none is named, and compare them with the lock.

    Returned are the report, and faults that a recording does not show, such as stale cases and stray files.
    """
    now = status(store)
    faults = [f"{case.case}: {case.state}: {case.why}" for case in now.cases if case.state != "fresh"]
    return diff(store, cases, say), [*faults, *now.faults]


def strays(store: GoldenStore) -> list[str]:
    """Return the files that belong to no golden, and the recorded cases that are not declared."""
    try:
        recorded = store.read_lock()
    except DamagedGolden:
        recorded = None
    names = set(recorded.cases) if recorded else set()
    expected = {store.path(name).name for name in names} | {lock.NAME}
    unused = [path for path in _own(store.folder) if path.name not in expected]
    system, undeclared = store.reference.name, sorted(names - {case.name for case in store.reference.cases})
    return [
        *(f"{path}: no golden uses this file. Mend: remove it" for path in unused),
        *(f"{system} declares no case {name}, but it is recorded. Mend: {store.mend}" for name in undeclared),
    ]


def _own(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder of goldens, without bounds, staged files and the folders of other weights."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        other = path.is_dir() and not path.is_symlink() and path.name.startswith(PREFIX)
        if path.name != case_file.STAGING and path.suffix != ".toml" and not other:
            yield path


def _case(store: GoldenStore, case: Case) -> CaseStatus:
    try:
        entry, _ = store.checked(case)
    except (StaleGolden, MissingGolden, DamagedGolden) as error:
        path = store.path(case.name)
        size = path.stat().st_size if path.is_file() else 0
        return CaseStatus(case.name, _STATES[type(error)], error.why, error.mend, size)
    return CaseStatus(case.name, "fresh", bytes=entry.file.bytes, at_hand=store.at_hand(entry))


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
