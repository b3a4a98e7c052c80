"""Recording truth again: what moved and by how much, and all of it written or nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from parity.base.fingerprint import changed, digest
from parity.declarations import Case, Golden
from parity.golden import case_file, lock, recording
from parity.golden.changes import CaseReport, Report, Status, movements
from parity.golden.errors import DamagedGolden, RefreshRefused
from parity.golden.lock import CaseEntry, Lock, Refreshed, Strict, hashes
from parity.golden.store import GoldenStore

Say = Callable[[str], None]
Made = Callable[[Case, str], tuple[CaseEntry, Golden]]


class ReasonWanted(RefreshRefused):
    """A recorded value would change, and nobody said why."""

    def __init__(self, store: GoldenStore, report: Report) -> None:
        count = sum(len(case.movements) for case in report.cases)
        gone = [case.case for case in report.cases if case.status == "gone"]
        what = [f"{count} recorded tensors would change"] if count else []
        what += [f"the recorded truth of {', '.join(gone)} would go"] if gone else []
        super().__init__(store.reference.name, f"{' and '.join(what)}; nothing is written without a reason", store.mend)
        self.report = report


class _Staged(Strict):
    """The note beside a staged case: its entry, and the digest of the provenance that it was recorded under."""

    provenance: str
    case: CaseEntry


def refresh(
    store: GoldenStore,
    cases: Sequence[Case] = (),
    reason: str = "",
    say: Say = print,
    date: str | None = None,
    again: bool = False,
) -> Report:
    """Record cases, all where none is named, and write them unless every bit is the same.

    Args:
        store: The goldens.
        cases: The cases to record.
        reason: Goes into the history. A refresh that changes recorded values is refused without one.
        say: Takes a line of progress.
        date: Date of the entry in the history, today by default.
        again: Whether to record cases again that an interrupted or refused refresh has already recorded.
    """
    with store.transaction.alone():
        old = store.read_lock()
        if old is None and not reason.strip():
            _assert_first(store)
        if again:
            store.transaction.clear()
        chosen = _chosen(store, cases, old)
        known = old.cases if old else {}
        entries: dict[str, CaseEntry] = {}

        def made(case: Case, number: str) -> tuple[CaseEntry, Golden]:
            was = known.get(case.name)
            entry, recorded = _staged(store, case, number, say) or _stage(store, case, was, number, say)
            same = was and was.identity() == entry.identity() and was.kept().keys() == entry.kept().keys()
            # The file in git can stay as it is, unless it is damaged.
            entries[case.name] = was if was and same and _kept(store, case, was) else entry
            return entry, recorded

        result = _compared(store, old, chosen, not cases, made, say)
        # Another machine's rounding moves no recorded bit.
        entries |= {one.case: known[one.case] for one in result.cases if one.status == "moved by rounding"}
        moved = [name for name, entry in entries.items() if entry is not known.get(name)]
        new = _new_lock(store, old, entries, result.cases, reason.strip(), date)
        if old and not moved and list(new.cases) == list(old.cases) and not result.provenance:
            store.transaction.clear()
            return result
        if any(one.status in ("moved", "gone") for one in result.cases) and not reason.strip():
            raise ReasonWanted(store, result)
        _assert_writable(store, new, set(entries))
        dropped = [store.path(name).name for name in old.cases if name not in new.cases] if old else []
        store.transaction.commit([store.path(name).name for name in moved], dropped, new)
        return replace(result, written=True)


def diff(store: GoldenStore, cases: Sequence[Case] = (), say: Say = print) -> Report:
    """Return what a refresh would find. Nothing is written."""

    def made(case: Case, number: str) -> tuple[CaseEntry, Golden]:
        say(f"{case.name}: recording {number} …")
        recorded = store.record(case)
        return CaseEntry.of(recorded, case.inputs, {}, store.whole, store.room), recorded

    return _compared(store, store.read_lock(), list(cases) or list(store.reference.cases), not cases, made, say)


def _compared(
    store: GoldenStore, old: Lock | None, cases: Sequence[Case], complete: bool, made: Made, say: Say
) -> Report:
    """Record the cases, and compare them with the lock. A complete set shows as well which cases are gone."""
    reports: list[CaseReport] = []
    for number, case in enumerate(cases, 1):
        start = time.perf_counter()
        entry, recorded = made(case, f"({number} of {len(cases)})")
        was = old.cases.get(case.name) if old else None
        status: Status = "same" if was else "new"
        moved = []
        if was:
            before = store.recorded(case, was) if was.identity() != entry.identity() else None
            moved = movements(was, _kept(store, case, was), before, recorded)
        if moved:
            status = "moved by rounding" if all(one.rounding for one in moved) else "moved"
        reports.append(CaseReport(case.name, status, tuple(moved), len(entry.kept()), time.perf_counter() - start))
        say(str(reports[-1]))
    if old and complete:
        reports += [CaseReport(name, "gone") for name in _undeclared(store, old)]
    parts = changed(old.provenance, store.provenance) if old else []
    return Report(store.reference.name, tuple(reports), tuple(parts))


def _chosen(store: GoldenStore, cases: Sequence[Case], old: Lock | None) -> list[Case]:
    everything = list(store.reference.cases)
    if not everything:
        raise RefreshRefused(store.reference.name, "it declares no case", "give its reference at least one")
    parts = changed(old.provenance, store.provenance) if old and cases else []
    if parts and {case.name for case in cases} != {case.name for case in everything}:
        why = f"the other cases would be left behind: {lock.summary(parts)}"
        raise RefreshRefused(store.reference.name, why, "refresh all cases together")
    return list(cases) or everything


def _assert_first(store: GoldenStore) -> None:
    """Refuse to record over cases whose lock is lost, except those that an interrupted first refresh left."""
    left = [path for path in store.folder.glob(f"*{case_file.SUFFIX}*") if path.is_file()]
    if left and not (store.transaction.folder / lock.NAME).exists():
        where = store.folder / lock.NAME
        why = f"it is missing, but {left[0].name} was recorded; recording again loses the history"
        raise RefreshRefused(where, why, f"git checkout -- {where}, or {store.mend}")


def _undeclared(store: GoldenStore, old: Lock) -> list[str]:
    declared = {case.name for case in store.reference.cases}
    return [name for name in old.cases if name not in declared]


def _kept(store: GoldenStore, case: Case, entry: CaseEntry) -> Mapping[str, np.ndarray]:
    """Return git's part of a case. A damaged file has none, and does not prevent a new recording."""
    path = store.path(case.name)
    try:
        return case_file.unpack(path, entry, case_file.read(path, entry))
    except DamagedGolden:
        return {}


def _stage(store: GoldenStore, case: Case, was: CaseEntry | None, number: str, say: Say) -> tuple[CaseEntry, Golden]:
    say(f"{case.name}: recording {number} …")
    recorded = store.record(case)
    known = {tensor.sha256: tensor.spread for tensor in was.places().values()} if was else {}
    if not recording.arrays(recorded).keys() <= known.keys():
        say(f"{case.name}: recording again with other kernels and inputs a few ulp off, to measure rounding …")
        known = recording.spread(case, recorded, store.record)
    entry = CaseEntry.of(recorded, case.inputs, known, store.whole, store.room)
    entry, data = case_file.pack(entry, recorded, store.whole)
    store.keep(entry, lambda folder: recording.write(recorded, folder, store.took[case.name]))
    store.transaction.add(store.path(case.name).name, data)
    note = _Staged(provenance=digest(store.provenance), case=entry)
    store.transaction.add(f"{case.name}.json", note.model_dump_json().encode())
    return entry, recorded


def _staged(store: GoldenStore, case: Case, number: str, say: Say) -> tuple[CaseEntry, Golden] | None:
    """Return what an unfinished refresh recorded of a case, if the same provenance would make it today.

    A refresh that was killed at its end has moved the file into place already.
    """
    path, note = store.path(case.name), store.transaction.folder / f"{case.name}.json"
    staged = store.transaction.folder / path.name
    try:
        found = _Staged.model_validate_json(note.read_bytes())
        if found.provenance != digest(store.provenance) or found.case.inputs != hashes(case.inputs):
            return None
        case_file.read(staged if staged.exists() else path, found.case)
        recorded = store.recorded(case, found.case)
    except (FileNotFoundError, DamagedGolden, ValueError):
        return None
    if recorded is None:
        return None
    say(f"{case.name}: taken over from an unfinished refresh {number} …")
    return found.case, recorded


def _new_lock(
    store: GoldenStore,
    old: Lock | None,
    entries: Mapping[str, CaseEntry],
    reports: Sequence[CaseReport],
    reason: str,
    date: str | None,
) -> Lock:
    known = {**(old.cases if old else {}), **entries}
    statuses = {report.status for report in reports}
    order = [case.name for case in store.reference.cases]
    if old and "gone" not in statuses:
        order += _undeclared(store, old)
    default = "first recording" if old is None else "new cases" if "new" in statuses else "no value moved"
    touched = tuple(one.case for one in reports if one.status not in ("same", "moved by rounding"))
    today = date or datetime.now(UTC).date().isoformat()
    entry = Refreshed(date=today, reason=reason or default, cases=touched)
    return Lock(
        schema=1,
        system=store.reference.name,
        **store.provenance,
        cases={name: known[name] for name in order if name in known},
        history=(*(old.history if old else ()), entry),
    )


def _assert_writable(store: GoldenStore, new: Lock, recorded: set[str]) -> None:
    """Refuse a refresh whose untouched cases are damaged, or that is too large for git."""
    for name, entry in new.cases.items():
        if name not in recorded:
            case_file.read(store.path(name), entry)
    if not store.weights.in_git:
        return
    replaced = {store.folder / lock.NAME, *map(store.path, new.cases)}
    others = sum(path.stat().st_size for path in case_file.tracked(store.root) if path not in replaced)
    total = others + len(lock.write(new)) + sum(entry.file.bytes for entry in new.cases.values())
    if total > case_file.MAX_BYTES:
        most = f"{case_file.MAX_BYTES / 1e6:.0f} MB"
        why = f"{store.root} would hold {total / 1e6:.1f} MB, and {most} are all that git may"
        raise RefreshRefused(store.reference.name, why, "record fewer or shorter cases")
