"""Loosenings: bounds that became easier to pass between two versions, and their reasons."""

from __future__ import annotations

import math
from dataclasses import dataclass

from parity.base import toml
from parity.judge.budgets import KINDS, Budget, Budgets
from parity.judge.gates import Gates


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


def loosened(before: Gates, after: Gates) -> list[Loosening]:
    """Return the loosenings among the gates; whatever tightened or is new is free."""
    now = after.by_name()
    found = []
    for name, old in before.by_name().items():
        new = now.get(name)
        if new is None:
            found.append(removal(name, str(old.bound), after.retirement(name), "[retired]"))
        elif new.room > old.room:
            found.append(loosening(name, (str(old.bound), str(new.bound)), old.reason, new.reason))
    found += [removal(name, "a metric that is gone", after.retirement(name), "[retired]") for name in before.gone]
    return found


def loosened_budgets(before: Budgets, after: Budgets) -> list[Loosening]:
    """Return the loosenings among the budgets. What was measured may move: the bound that suspects must follow it."""
    now = after.by_name()
    found = []
    for name, old in before.by_name().items():
        new = now.get(name)
        if new is None:
            found.append(removal(name, old.text, toml.retirement(after.retired, name), "[retired]"))
        elif _easier(old, new):
            found.append(loosening(name, (old.text, new.text), old.reason, new.reason))
    return found


def _easier(old: Budget, new: Budget) -> bool:
    worse = KINDS[old.kind].worse(new.bound.limit, old.bound.limit)
    if old.suspicious is None or new.suspicious is None:
        return worse or (old.suspicious is not None and new.suspicious is None)
    was, now = (_suspicion(one.limit, of.measured) for one, of in ((old.suspicious, old), (new.suspicious, new)))
    return worse or now > was


def _suspicion(bound: float, measured: float) -> float:
    """Return the factor by which a value has to be better than what was measured to be suspicious."""
    return round(max(bound / measured, measured / bound), 1) if bound > 0 else math.inf


def loosening(name: str, moved: tuple[str, str], old_reason: str, reason: str) -> Loosening:
    """Return a move. A reason counts only if it was written for it: the one from before explains the old bound."""
    problem = ""
    if not reason:
        problem = "looser without a reason: write one beside the bound"
    elif reason == old_reason:
        problem = "looser, and its reason is the old one: say why it moved"
    return Loosening(name, *moved, reason, problem)


def removal(name: str, old: str, reason: str, where: str, new: str = "no bound") -> Loosening:
    """Return the loosening by which a bound, or what it bounded, is gone. `where` is the place for the reason."""
    problem = "" if reason else f"taken away without a reason: name it under {where} and say why"
    return Loosening(name, old, new, reason, problem)
