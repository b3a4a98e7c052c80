"""Budgets: bounds on speed, size and placement, each between too bad and too good to be true."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from parity.base import toml
from parity.declarations import Stage
from parity.plan.checks import Deployed
from parity.verdict import Bound, Finding

FARTHEST = 4.0
"""A bound that leaves a factor of this to what was measured can hardly fail."""
FARTHEST_SHARE = 0.25
"""The same for a share, as a difference."""
DEVICE, ANYWHERE = frozenset({"coreml", "executorch"}), frozenset({"executorch", "milrun"})
_DIGIT = 0.01
"""The share of a bound that its rounding to three digits may add."""
SPEEDS = ("stage_ms", "stage_ratio")


class BudgetError(ValueError):
    """A file of budgets with a fault, or a budget that is not in it."""


@dataclass(frozen=True)
class Kind:
    """One kind of budget.

    unit: of the values.
    better: the direction in which a value is better.
    subject: names of the keys under the kind in a profile.
    runtimes: those on which it means something.
    two_sided: it also has a bound beyond which a value is suspiciously good.
    most: the largest possible value; 1 for a share.
    """

    unit: str
    better: Literal["higher", "lower"]
    subject: tuple[str, ...] = ()
    runtimes: frozenset[str] = DEVICE | ANYWHERE
    two_sided: bool = True
    most: float = math.inf

    @property
    def is_share(self) -> bool:
        return self.most == 1.0

    def possible(self, value: float) -> bool:
        """Return whether the value is possible: times and sizes are above 0, a share may be 0."""
        return math.isfinite(value) and value <= self.most and (value > 0 or (self.is_share and value == 0))

    def worse(self, value: float, than: float) -> bool:
        return value > than if self.better == "lower" else value < than

    def bounds(self, low: float | None, high: float | None) -> tuple[Bound, Bound | None]:
        """Return the bound on the side that is worse, and the one on the side that is too good, if there is one."""
        best = 0.0 if self.better == "lower" else 1.0 if self.is_share else None
        least = None if low is None else Bound("min", low, best if self.better == "higher" else None, self.unit)
        most = None if high is None else Bound("max", high, best if self.better == "lower" else 0.0, self.unit)
        bad, good = (least, most) if self.better == "higher" else (most, least)
        assert bad is not None
        return bad, good


PROFILE_KINDS = {
    "rtfx": Kind("×", "higher", runtimes=DEVICE),
    "chain_ms": Kind("ms", "lower", ("T_enc",), DEVICE),
    "stage_ms": Kind("ms", "lower", ("stage", "T_enc"), DEVICE),
    "chain_ratio": Kind("× eager", "lower", runtimes=ANYWHERE),
    "stage_ratio": Kind("× eager", "lower", ("stage",), ANYWHERE),
    "load_s": Kind("s", "lower", ("stage",), two_sided=False),
}
SIZE_KINDS = {"size_mb": Kind("MB", "lower")}
PLACEMENT_KINDS = {
    "neural_engine_share": Kind("", "higher", two_sided=False, most=1.0),
    "gpu_share": Kind("", "lower", two_sided=False, most=1.0),
    "cpu_share": Kind("", "lower", two_sided=False, most=1.0),
}
KINDS = {**PROFILE_KINDS, **SIZE_KINDS, **PLACEMENT_KINDS}


@dataclass(frozen=True, kw_only=True)
class Budget:
    """One budget, and what was measured when it was set.

    path: where it stands in the file.
    subject: what is bounded, as a finding names it.
    bound: on the side that is worse.
    suspicious: the bound on the side that is too good to be true.
    """

    path: tuple[str, ...]
    kind: str
    subject: tuple[str, ...]
    bound: Bound
    suspicious: Bound | None
    measured: float
    derived_from: str
    reason: str = ""

    @property
    def name(self) -> str:
        return ".".join(self.path)

    @property
    def text(self) -> str:
        return str(self.bound) if self.suspicious is None else f"{self.bound} and {self.suspicious}"

    def check(self, value: float) -> Finding:
        """Return what the budget says of a value."""
        kind, subject = KINDS[self.kind], ".".join(self.subject)
        said = f"{self.kind} {value:g} {kind.unit}".rstrip()
        if not kind.possible(value):
            return Finding(subject, self.kind, False, value, self.bound, f"{said} can't be: measure it again")
        if self.suspicious and not self.suspicious.holds(value):
            message = (
                f"{said} is too good, not {self.suspicious}: is something left out? If it isn't, update the budget"
            )
            return Finding(subject, self.kind, False, value, self.suspicious, message)
        return Finding(subject, self.kind, self.bound.holds(value), value, self.bound)


@dataclass(frozen=True)
class Profile:
    """One kind of machine. `model` is its maker's identifier; without one, every machine of the system is meant."""

    name: str
    about: str
    system: str
    model: str
    runtime: str
    source: str


@dataclass(frozen=True)
class Budgets:
    """All budgets of a system, in the order of their file, and the reasons for those that were taken away."""

    profiles: tuple[Profile, ...]
    budgets: tuple[Budget, ...]
    retired: Mapping[str, str] = field(default_factory=dict)

    def by_name(self) -> dict[str, Budget]:
        return {budget.name: budget for budget in self.budgets}

    def here(self, system: str, model: str, runtime: str) -> Profile | None:
        """Return the profile of a machine: the one of its model, else the one of its whole system, else None."""
        fitting = [one for one in self.profiles if (one.system, one.runtime) == (system, runtime)]
        found = [one for wanted in (model, "") for one in fitting if one.model == wanted]
        return found[0] if found else None


def suggest(kind: str, measured: float, derived_from: str) -> str:
    """Return the entry for a measurement: 30 % worse, or 0.05 of a share, fails, and so does twice as good."""
    known = KINDS[kind]
    if not known.possible(measured):
        raise BudgetError(f"{kind} measured {measured}: no budget can be taken from that")
    (worse, good), lower = _limits(known, measured), known.better == "lower"
    sides = [("max" if lower else "min", worse), *([("min" if lower else "max", good)] if known.two_sided else [])]
    bounds = ", ".join(f"{side} = {float(f'{bound:.3g}')}" for side, bound in sorted(sides, reverse=True))
    return f"{{ {bounds}, measured = {float(f'{measured:.4g}')}, derived_from = {toml.quoted(derived_from)} }}"


def _limits(kind: Kind, measured: float) -> tuple[float, float]:
    """Return the limits that a measurement suggests: on the side that is worse, and on the one that is too good."""
    lower = kind.better == "lower"
    if kind.is_share:
        return (measured + 0.05 if lower else max(0.0, measured - 0.05)), math.nan
    return (measured * 1.3, measured / 2) if lower else (measured / 1.3, measured * 2)


def complete(budgets: Budgets, stages: Sequence[Stage], profile: Profile | None, ships: Deployed) -> list[str]:
    """Return what is missing or too much: each artifact that ships has a size, and on the profile's machine a speed."""
    if not stages:
        return ["no stage is declared at all"]
    problems, known = [], budgets.by_name()
    declared = {stage.name: [variant.name for variant in stage.variants] for stage in stages}
    programs = {variant.name for stage in stages for variant in stage.variants if variant.format == "pte"}
    for budget in budgets.budgets:
        if budget.path[0] == "program" and budget.path[1] not in programs:
            hint = toml.nearest(budget.path[1], programs)
            problems.append(f"{budget.name} bounds a program that is declared nowhere{hint}")
        stage, variant = _artifact(budget)
        if stage is not None and stage not in declared:
            problems.append(f"{budget.name} bounds a stage that is declared nowhere{toml.nearest(stage, declared)}")
        elif stage is not None and variant is not None and variant not in declared[stage]:
            hint = toml.nearest(variant, declared[stage])
            problems.append(f"{budget.name} bounds a variant that is declared nowhere{hint}")
    for one in stages:
        size = f"artifact.{one.name}.{ships.variants[one.name].name}.size_mb"
        if size not in known and not ships.whole:
            problems.append(f"{size} is missing: build the artifact and set it")
        if profile and not any(_bounds_speed(budget, profile, one) for budget in budgets.budgets):
            problems.append(f"profile {profile.name} bounds no speed of {one.name}: run the bench there and set it")
    return [*problems, *filter(None, map(_unexplained, budgets.budgets))]


def _unexplained(budget: Budget) -> str:
    """Return what is wrong with a budget that is looser than its measurement suggests, and says no reason."""
    kind = KINDS[budget.kind]
    worse, good = _limits(kind, budget.measured)
    sides = [(budget.bound.limit, worse, kind.better == "lower")]
    sides += [(budget.suspicious.limit, good, kind.better == "higher")] if budget.suspicious else []
    if budget.reason or not any(
        limit > most + _DIGIT * most if up else limit < most - _DIGIT * most for limit, most, up in sides
    ):
        return ""
    suggested = suggest(budget.kind, budget.measured, budget.derived_from).partition(", measured")[0].lstrip("{ ")
    said = f"{budget.text} is looser than {suggested}, which {budget.measured:g} suggests"
    return f"{budget.name}: {said}, and it lacks a reason: write one beside it"


def _artifact(budget: Budget) -> tuple[str | None, str | None]:
    """Return the stage and the variant of a budget."""
    if budget.path[0] in ("artifact", "placement"):
        return budget.path[1], budget.path[2]
    if "stage" in KINDS[budget.kind].subject:
        return budget.subject[0], None
    return None, None


def _bounds_speed(budget: Budget, profile: Profile, stage: Stage) -> bool:
    of_profile = budget.path[:2] == ("profile", profile.name)
    return of_profile and budget.kind in SPEEDS and budget.subject[0] == stage.name
