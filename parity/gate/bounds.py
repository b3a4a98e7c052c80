"""All bounds and cases of a revision, and what became easier to pass since another one.

A gate or a budget that goes is named under `[retired]` in its own file, with a reason. A whole system, or a case that
goes or becomes long, as "system.case.name", is named in `retired.toml` beside the folders of the systems.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from parity.base import toml
from parity.base.paths import BUDGETS, CONFIGURATION, GATES, Project, at, parsed
from parity.base.toml import Place, Text
from parity.gate import git
from parity.golden import lock
from parity.judge import budgets, gates
from parity.judge.budgets import Budgets
from parity.judge.gates import GateError, Gates

RETIRED = "retired.toml"
_FILES = (GATES, BUDGETS, RETIRED, lock.NAME)


@dataclass(frozen=True)
class Bounds:
    """The bounds of a revision.

    gates, budgets: by system; those of other weights than the default ones by "system/weights".
    cases: the recorded cases, by reference.
    short: those that its code declares short, where it was asked.
    reasons: the reason of each retirement, by its full name.
    """

    gates: dict[str, Gates] = field(default_factory=dict)
    budgets: dict[str, Budgets] = field(default_factory=dict)
    cases: dict[str, Collection[str]] = field(default_factory=dict)
    short: Mapping[str, Collection[str]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Declared:
    """Names of the systems that the code declares; its cases by reference, and whether each is short."""

    systems: Collection[str]
    cases: Mapping[str, Mapping[str, bool]]


@dataclass(frozen=True)
class Loosening:
    """A bound that was moved the easier way, or is gone. `problem` says what is wrong with that, if anything."""

    name: str
    old: str
    new: str
    reason: str
    problem: str = ""

    def line(self) -> str:
        moved = f"{self.name}: {self.old} → {self.new}"
        return f"{moved}: {self.problem}" if self.problem else f"{moved} ({self.reason})"


def of_commit(root: Path, commit: str) -> Bounds:
    """Return the bounds that a commit has."""
    text = git.text(root, commit, CONFIGURATION) if git.files(root, commit, CONFIGURATION) else ""
    golden = (parsed(root, text, f"{commit[:12]}:{CONFIGURATION}") or Project(root)).golden
    paths = [path for path in git.files(root, commit, golden) if PurePosixPath(path).name in _FILES]
    return _parsed({path: git.text(root, commit, path) for path in paths}, golden, commit[:12])


def of_tree(root: Path) -> Bounds:
    """Return the bounds that lie in the working tree."""
    golden = at(root).golden
    paths = [path for path in (root / golden).rglob("*") if path.name in _FILES]
    return _parsed({path.relative_to(root).as_posix(): toml.read(path, GateError) for path in paths}, golden)


def loosenings(before: Bounds, now: Bounds, declared: Declared | None = None) -> list[Loosening]:
    """Return what became easier to pass. The gates of a whole system go with it, and its retirement has the reason.

    declared: what the code declares; where it cannot say, the cases that are recorded count.
    """
    found = list(_contradictions(now, declared)) if declared else []
    systems: list[tuple[str, Gates | Budgets, Gates | Budgets]] = [
        *((name, held, now.gates.get(name, Gates(()))) for name, held in before.gates.items()),
        *((name, held, now.budgets.get(name, Budgets((), ()))) for name, held in before.budgets.items()),
    ]
    for system, old, new in systems:
        if not now.reasons.get(system):
            found += [replace(one, name=f"{system}.{one.name}") for one in loosened(old, new)]
    for reference, cases in before.cases.items():
        known: Mapping[str, Collection[str]] = declared.cases if declared else now.cases
        for case in cases if reference in known or not now.reasons.get(reference) else ():
            name = f"{reference}.case.{case}"
            reason, where = now.reasons.get(name, ""), f'{RETIRED}, as "{name}"'
            if case not in known.get(reference, ()):
                found.append(removal(name, "a recorded case", reason, where, "no case"))
            elif declared and case in before.short.get(reference, ()) and not declared.cases[reference][case]:
                found.append(removal(name, "a short case", reason, where, "a long case"))
    return found


def _contradictions(now: Bounds, declared: Declared) -> Iterator[Loosening]:
    """Yield the bounds of systems that are neither declared nor retired, and what is both."""
    for name in sorted({room.partition("/")[0] for room in (*now.gates, *now.budgets)}.difference(declared.systems)):
        if name not in now.reasons:
            yield removal(name, "bounds", "", RETIRED, "no system that is declared")
    kept = (f"{name}.case.{case}" for name, cases in declared.cases.items() for case, short in cases.items() if short)
    for name in (name for name in (*declared.systems, *kept) if name in now.reasons):
        problem = f"the code still declares it: remove it there, or its line in {RETIRED}"
        yield Loosening(name, "declared", "retired", now.reasons[name], problem)


def loosened(before: Gates | Budgets, after: Gates | Budgets) -> Iterator[Loosening]:
    """Yield the loosenings among gates or budgets; whatever tightened or is new is free.

    A reason counts only if it was written for one: that from before explains the old bound.
    """
    now: Mapping[str, Any] = after.by_name()
    for name, old in before.by_name().items():
        new = now.get(name)
        if new is None:
            yield removal(name, old.text, toml.retirement(after.retired, name), "[retired]")
        elif new.looser(old):
            problem = ""
            if not new.reason:
                problem = "looser without a reason: write one beside the bound"
            elif new.reason == old.reason:
                problem = "looser, and its reason is the old one: say why it moved"
            yield Loosening(name, old.text, new.text, new.reason, problem)
    for name in before.gone if isinstance(before, Gates) else ():
        yield removal(name, "a metric that is gone", toml.retirement(after.retired, name), "[retired]")


def removal(name: str, old: str, reason: str, where: str, new: str = "no bound") -> Loosening:
    """Return the loosening by which a bound, or what it bounded, is gone. `where` is the place for the reason."""
    problem = "" if reason else f"taken away without a reason: name it under {where} and say why"
    return Loosening(name, old, new, reason, problem)


def _parsed(texts: Mapping[str, str], golden: str, commit: str = "") -> Bounds:
    found = Bounds()
    for path, text in sorted(texts.items()):
        place = f"{commit}:{path}" if commit else path
        match PurePosixPath(path).relative_to(golden).parts:
            case (*room, name) if name == GATES:
                system = "/".join(room)
                found.gates[system] = gates.parse(text, place, old=bool(commit))
                retired = found.gates[system].retired.items()
                found.reasons.update({f"{system}.{gone}": why for gone, why in retired})
            case (*room, name) if name == BUDGETS:
                found.budgets["/".join(room)] = budgets.parse(text, place)
            case (reference, name) if name == lock.NAME:
                found.cases[reference] = list(_json(text, place).get("cases", ()))
            case (name,) if name == RETIRED:
                where = Place(place, GateError)
                content = toml.parse(text, where) if text.strip() else {}
                found.reasons.update(toml.checked(dict[str, Text], content, where))
    return found


def _json(text: str, place: str) -> Mapping[str, Collection[str]]:
    """Read a lock of whatever schema: the base may be older than this code."""
    try:
        found = json.loads(text)
    except ValueError as error:
        found = error
    if not isinstance(found, dict):
        raise ValueError(f"{place} is not a lock of goldens: {found!s:.80}. Restore it, or name another base")
    return found
