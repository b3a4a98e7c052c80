"""All bounds of a revision, and what became easier to pass since another one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from parity.base.paths import BUDGETS, GATES, at
from parity.gate import git, retired
from parity.gate.loosening import Loosening, loosened, loosened_budgets
from parity.judge import budgets_toml, gates
from parity.judge.budgets import Budgets
from parity.judge.gates import Gates


@dataclass(frozen=True)
class Bounds:
    """Gates and budgets by system, those of other weights than the seeded ones by "system/weights"; `reasons` has each
    retirement that is declared, by its full name."""

    gates: Mapping[str, Gates] = field(default_factory=dict)
    budgets: Mapping[str, Budgets] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)


def of_commit(root: Path, commit: str) -> Bounds:
    golden = at(root).golden
    paths = [path for path in git.files(root, commit, golden) if path.endswith(".toml")]
    return _parsed({path: git.text(root, commit, path) for path in paths}, golden, commit[:12])


def of_tree(root: Path) -> Bounds:
    golden = at(root).golden
    paths = root.glob(f"{golden}/**/*.toml")
    return _parsed({path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in paths}, golden)


def loosenings(before: Bounds, now: Bounds) -> list[Loosening]:
    """Return the loosenings of all systems. A retired system's gates go with it; its retirement has the reason."""
    found = []
    for system, old in before.gates.items():
        if not now.reasons.get(system):
            found += _named(system, loosened(old, now.gates.get(system, Gates(()))))
    for system, held in before.budgets.items():
        if not now.reasons.get(system):
            found += _named(system, loosened_budgets(held, now.budgets.get(system, Budgets((), ()))))
    return found


def _named(system: str, found: list[Loosening]) -> list[Loosening]:
    return [replace(one, name=f"{system}.{one.name}") for one in found]


def _parsed(texts: Mapping[str, str], golden: str, commit: str = "") -> Bounds:
    found_gates: dict[str, Gates] = {}
    found_budgets: dict[str, Budgets] = {}
    reasons: dict[str, str] = {}
    for path, text in sorted(texts.items()):
        place = f"{commit}:{path}" if commit else path
        match PurePosixPath(path).relative_to(golden).parts:
            case (*room, name) if name == GATES:
                system = "/".join(room)
                found_gates[system] = gates.parse(text, place)
                reasons |= {f"{system}.{gone}": why for gone, why in found_gates[system].retired.items()}
            case (*room, name) if name == BUDGETS:
                found_budgets["/".join(room)] = budgets_toml.parse(text, place)
            case (name,) if name == retired.FILE:
                reasons |= retired.parse(text, place)
    return Bounds(found_gates, found_budgets, reasons)
