"""Records truth again, says what moved and by how much, and writes it: all of it or nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from parity.declarations import Case
from parity.golden import case_file, lock, provenance, recording
from parity.golden.change_report import CaseReport, Report
from parity.golden.changes import movements
from parity.golden.errors import DamagedGolden, RefreshRefused
from parity.golden.lock import Lock, Refreshed
from parity.golden.recording import Recording
from parity.golden.rounding import spread
from parity.golden.store import GoldenStore
from parity.golden.tensors import CaseEntry, hashes

Say = Callable[[str], None]


class ReasonWanted(RefreshRefused):
    """A recorded value would change, and nobody said why."""

    def __init__(self, store: GoldenStore, report: Report) -> None:
        count = sum(len(case.movements) for case in report.cases)
        gone = [case.case for case in report.cases if case.status == "gone"]
        what = [f"{count} recorded tensors would change"] if count else []
        what += [f"the recorded truth of {', '.join(gone)} would go"] if gone else []
        super().__init__(store.reference.name, f"{' and '.join(what)}; nothing is written without a reason", store.mend)
        self.report = report


def refresh(
    store: GoldenStore,
    cases: Sequence[Case] = (),
    reason: str = "",
    say: Say = print,
    date: str | None = None,
    again: bool = False,
) -> Report:
    """Of all cases, where none is named.

    What an interrupted or refused refresh recorded is not recorded again, unless `again` is said.
    """
    with store.journal.alone():
        if again:
            store.journal.discard()
        old = store.read_lock()
        changed = provenance.changes(old.provenance, store.provenance) if old else []
        chosen = _chosen(store, cases, changed)
        entries: dict[str, CaseEntry] = {}
        reports: list[CaseReport] = []
        untouched = True
        for number, case in enumerate(chosen, 1):
            start = time.perf_counter()
            found = _staged(store, case)
            how = "taken over from an unfinished refresh" if found else "recording"
            say(f"{case.name}: {how} ({number} of {len(chosen)}) …")
            entry, recorded = found or _stage(store, case, old.cases.get(case.name) if old else None, say)
            report, unchanged = compare(store, old, case, entry, recorded, time.perf_counter() - start)
            entries[case.name] = old.cases[case.name] if old and unchanged else entry
            reports.append(report)
            untouched &= unchanged
            say(str(report))
        if old and not cases:
            reports += [gone(name) for name in _undeclared(store, old)]
        new = _new_lock(store, old, entries, reports, reason.strip(), date)
        result = Report(store.reference.name, tuple(reports), tuple(changed), case_file.size(store.root))
        if old and untouched and list(new.cases) == list(old.cases) and not changed:
            store.journal.discard()
            return result
        if any(report.status in ("moved", "gone") for report in reports) and not reason.strip():
            raise ReasonWanted(store, result)
        _assert_writable(store, new, set(entries))
        store.journal.decide(new)
        return replace(result, written=True, in_git=case_file.size(store.root))


def diff(store: GoldenStore, cases: Sequence[Case] = (), say: Say = print) -> Report:
    """What a refresh would find. Writes nothing."""
    old = store.read_lock()
    changed = provenance.changes(old.provenance, store.provenance) if old else []
    reports: list[CaseReport] = []
    chosen = list(cases) or list(store.reference.cases)
    for number, case in enumerate(chosen, 1):
        say(f"{case.name}: recording ({number} of {len(chosen)}) …")
        start = time.perf_counter()
        recorded = store.record(case)
        entry = CaseEntry.of(recorded, case.inputs, {}, store.whole)
        reports.append(compare(store, old, case, entry, recorded, time.perf_counter() - start)[0])
        say(str(reports[-1]))
    if old and not cases:
        reports += [gone(name) for name in _undeclared(store, old)]
    return Report(store.reference.name, tuple(reports), tuple(changed), case_file.size(store.root))


def compare(
    store: GoldenStore, old: Lock | None, case: Case, entry: CaseEntry, recorded: Recording, seconds: float
) -> tuple[CaseReport, bool]:
    """What moved, and whether what lies in git can stay as it is."""
    tensors = sum(1 for _ in entry.kept())
    was = old.cases.get(case.name) if old else None
    if was is None:
        return CaseReport(case.name, "new", (), tensors, seconds), False
    kept = _kept(store, case, was)
    before = store.recorded(was) if was.identity() != entry.identity() else None
    moved = tuple(movements(was, kept, before, recorded))
    same_files = bool(kept) and dict(was.kept()).keys() == dict(entry.kept()).keys()
    unchanged = same_files and was.identity() == entry.identity()
    return CaseReport(case.name, "moved" if moved else "same", moved, tensors, seconds), unchanged


def gone(name: str) -> CaseReport:
    return CaseReport(name, "gone", (), 0, 0.0)


def _chosen(store: GoldenStore, cases: Sequence[Case], changed: list[str]) -> list[Case]:
    everything = list(store.reference.cases)
    if not everything:
        raise RefreshRefused(store.reference.name, "it declares no case", "give its reference at least one")
    if cases and changed and {case.name for case in cases} != {case.name for case in everything}:
        why = f"the other cases would be left behind: {provenance.summary(changed)}"
        raise RefreshRefused(store.reference.name, why, "refresh all cases together")
    return list(cases) or everything


def _undeclared(store: GoldenStore, old: Lock) -> list[str]:
    declared = {case.name for case in store.reference.cases}
    return [name for name in old.cases if name not in declared]


def _kept(store: GoldenStore, case: Case, entry: CaseEntry) -> Mapping[str, np.ndarray]:
    """What git has of a case; nothing where that is damaged, which must not stand in the way of recording it anew."""
    path = store.folder / f"{case.name}{case_file.SUFFIX}"
    try:
        return case_file.unpack(path, entry, case_file.read(path, entry))
    except DamagedGolden:
        return {}


def _stage(store: GoldenStore, case: Case, was: CaseEntry | None, say: Say) -> tuple[CaseEntry, Recording]:
    recorded = store.record(case)
    arrays = {held.sha256: held.array for _, held in recorded.places()}
    known = {tensor.sha256: tensor.spread for _, tensor in was.places()} if was else {}
    if not arrays.keys() <= known.keys():
        say(f"{case.name}: and again with other kernels and inputs a few ulp off, to see what rounding does …")
        known = spread(case, recorded, store.record)
    entry, data = case_file.pack(CaseEntry.of(recorded, case.inputs, known, store.whole), arrays, by_rows=store.whole)
    store.keep(entry, lambda folder: recording.write(recorded, folder))
    note = {"provenance": store.provenance.digest(), "case": lock.case_as_json(entry)}
    store.journal.stage(f"{case.name}{case_file.SUFFIX}", data)
    store.journal.stage(f"{case.name}.json", json.dumps(note).encode())
    return entry, recorded


def _staged(store: GoldenStore, case: Case) -> tuple[CaseEntry, Recording] | None:
    """What an unfinished refresh recorded of a case, if the same things would make it today."""
    note = store.journal.staged(f"{case.name}.json")
    if note is None:
        return None
    try:
        content = json.loads(note)
        entry = lock.case_from_json(content["case"])
        if content["provenance"] != store.provenance.digest() or entry.inputs != hashes(case.inputs):
            return None
        case_file.read(store.journal.staging / f"{case.name}{case_file.SUFFIX}", entry)
        recorded = store.recorded(entry)
    except (DamagedGolden, ValueError, KeyError, TypeError, AttributeError):
        return None
    return (entry, recorded) if recorded else None


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
    touched = tuple(report.case for report in reports if report.status != "same")
    entry = Refreshed(date or datetime.now(UTC).date().isoformat(), reason or default, touched)
    history = (*(old.history if old else ()), entry)
    return Lock(store.reference.name, store.provenance, {name: known[name] for name in order if name in known}, history)


def _assert_writable(store: GoldenStore, new: Lock, recorded: set[str]) -> None:
    """Before anything is decided: what stays has to be whole, and all of it together has to be small enough for git."""
    for name, entry in new.cases.items():
        if name not in recorded:
            case_file.read(store.folder / f"{name}{case_file.SUFFIX}", entry)
    if store.weights.folder:
        return  # not meant for git
    replaced = {store.folder / lock.NAME, *(store.folder / f"{name}{case_file.SUFFIX}" for name in new.cases)}
    others = sum(path.stat().st_size for path in case_file.tracked(store.root) if path not in replaced)
    total = others + len(lock.write(new)) + sum(entry.file_bytes for entry in new.cases.values())
    if total > case_file.MAX_BYTES:
        why = (
            f"{store.root} would hold {total / 1e6:.1f} MB, and {case_file.MAX_BYTES / 1e6:.0f} MB are all that git may"
        )
        raise RefreshRefused(store.reference.name, why, "record fewer or shorter cases")
