"""Budgets: bounds on speed, size and placement, each between too bad and too good to be true.

They stand in `golden/<system>/budgets.toml`:

    [profile.NAME]                      about, system, model (optional), runtime, source
    rtfx = BUDGET                       seconds of audio per second, mean over the cases
    chain_ms.T_ENC = BUDGET             the whole chain          stage_ms.STAGE.T_ENC = BUDGET     one stage of it
    chain_ratio = BUDGET                against PyTorch eager    stage_ratio.STAGE = BUDGET        in the same run
    load_s.STAGE = BUDGET               the first load
    [bundle]                            size_mb = BUDGET         all artifacts that ship; a megabyte is 10^6 bytes
    [artifact.STAGE.VARIANT]            size_mb = BUDGET
    [program.VARIANT]                   size_mb = BUDGET         all methods of a program of ExecuTorch
    [placement.STAGE.VARIANT]           neural_engine_share, gpu_share, cpu_share = BUDGET, from the compute plan
    [retired]                           "NAME.OF.A.BUDGET" = "why it was taken away"

A BUDGET is `{ min = …, max = …, measured = …, derived_from = "…", reason = "…" }`. Times in ms compare on one device
alone, so a profile whose runtime is milrun, which runs on any machine, has ratios instead; one of executorch may have
both.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator

from parity.base import toml
from parity.base.toml import Filled, Place, Table, Text
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
Side = Literal["min", "max"]
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

    @property
    def sides(self) -> tuple[Side, ...]:
        """The bounds that it has: on the side that is worse, then on the one that is too good to be true."""
        both: tuple[Side, ...] = ("max", "min") if self.better == "lower" else ("min", "max")
        return both if self.two_sided else both[:1]

    def possible(self, value: float) -> bool:
        """Return whether the value is possible: times and sizes are above 0, a share may be 0."""
        return math.isfinite(value) and value <= self.most and (value > 0 or (self.is_share and value == 0))

    def worse(self, value: float, than: float) -> bool:
        return value > than if self.better == "lower" else value < than

    def limits(self, measured: float) -> dict[str, float]:
        """Return the suggested limits: 30 % worse, or 0.05 of a share, fails, and so does twice as good."""
        if self.better == "lower":
            return {"max": measured + 0.05} if self.is_share else {"max": measured * 1.3, "min": measured / 2}
        return {"min": max(0.0, measured - 0.05)} if self.is_share else {"min": measured / 1.3, "max": measured * 2}

    def suggested(self, measured: float) -> str:
        """Return the bounds that a measurement suggests, as an entry has them."""
        limits = self.limits(measured)
        return ", ".join(f"{side} = {float(f'{limits[side]:.3g}')}" for side in sorted(self.sides, reverse=True))


PLACEMENT_KINDS = {
    "neural_engine_share": Kind("", "higher", two_sided=False, most=1.0),
    "gpu_share": Kind("", "lower", two_sided=False, most=1.0),
    "cpu_share": Kind("", "lower", two_sided=False, most=1.0),
}
KINDS = {
    "rtfx": Kind("×", "higher", runtimes=DEVICE),
    "chain_ms": Kind("ms", "lower", ("T_enc",), DEVICE),
    "stage_ms": Kind("ms", "lower", ("stage", "T_enc"), DEVICE),
    "chain_ratio": Kind("× eager", "lower", runtimes=ANYWHERE),
    "stage_ratio": Kind("× eager", "lower", ("stage",), ANYWHERE),
    "load_s": Kind("s", "lower", ("stage",), two_sided=False),
    "size_mb": Kind("MB", "lower"),
    **PLACEMENT_KINDS,
}


@dataclass(frozen=True)
class Budget:
    """One budget, and what was measured when it was set.

    path: where it stands in the file.
    bound: on the side that is worse.
    suspicious: the bound on the side that is too good to be true.
    """

    path: tuple[str, ...]
    bound: Bound
    suspicious: Bound | None
    measured: float
    reason: str

    @property
    def kind(self) -> str:
        return _kind(self.path)

    @property
    def subject(self) -> tuple[str, ...]:
        """The name of what is bounded, as a finding has it."""
        if self.path[0] == "profile":
            return self.path[3:] if "stage" in KINDS[self.kind].subject else ("chain", *self.path[3:])
        return self.path[1:-1] or self.path[:-1]

    @property
    def name(self) -> str:
        return ".".join(self.path)

    @property
    def text(self) -> str:
        return str(self.bound) if self.suspicious is None else f"{self.bound} and {self.suspicious}"

    def looser(self, than: Budget) -> bool:
        """Return whether it is easier to meet. What was measured may move: the bound that suspects must follow it."""
        worse = KINDS[self.kind].worse(self.bound.limit, than.bound.limit)
        return worse or self._suspected() > than._suspected()

    def _suspected(self) -> float:
        """Return the factor by which a value has to be better than what was measured to be suspicious."""
        limit = self.suspicious.limit if self.suspicious else 0.0
        return round(max(limit / self.measured, self.measured / limit), 1) if limit > 0 else math.inf

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


def _kind(path: tuple[str, ...]) -> str:
    return path[2] if path[0] == "profile" else path[-1]


@dataclass(frozen=True)
class Profile:
    """One kind of machine. `model` is its maker's identifier; without one, every machine of the system is meant."""

    name: str
    system: str
    model: str
    runtime: str


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
        fitting = {one.model: one for one in self.profiles if (one.system, one.runtime) == (system, runtime)}
        return fitting.get(model) or fitting.get("")


def suggest(kind: str, measured: float, derived_from: str) -> str:
    """Return the entry for a measurement."""
    if not KINDS[kind].possible(measured):
        raise BudgetError(f"{kind} measured {measured}: no budget can be taken from that")
    measured_as = f"measured = {float(f'{measured:.4g}')}, derived_from = {toml.quoted(derived_from)}"
    return f"{{ {KINDS[kind].suggested(measured)}, {measured_as} }}"


def complete(budgets: Budgets, stages: Sequence[Stage], profile: Profile | None, ships: Deployed) -> list[str]:
    """Return what is missing or too much: each artifact that ships has a size, and on the profile's machine a speed."""
    if not stages:
        return ["no stage is declared at all"]
    problems, known = [], budgets.by_name()
    for budget in budgets.budgets:
        for word, name, declared in _named(budget, stages):
            if name not in declared:
                hint = toml.nearest(name, declared)
                problems.append(f"{budget.name} bounds a {word} that is declared nowhere{hint}")
                break
    table = ("profile", profile.name) if profile else ()
    timed = {budget.subject[0] for budget in budgets.budgets if budget.path[:2] == table and budget.kind in SPEEDS}
    for stage in stages:
        size = f"artifact.{stage.name}.{ships.variants[stage.name].name}.size_mb"
        if size not in known and not ships.whole:
            problems.append(f"{size} is missing: build the artifact and set it")
        if profile and stage.name not in timed:
            problems.append(f"profile {profile.name} bounds no speed of {stage.name}: run the bench there and set it")
    return [*problems, *filter(None, map(_unexplained, budgets.budgets))]


def _named(budget: Budget, stages: Sequence[Stage]) -> Iterator[tuple[str, str, Collection[str]]]:
    """Yield the word for what a budget bounds, its name, and the names that are declared."""
    declared = {stage.name: [variant.name for variant in stage.variants] for stage in stages}
    match budget.path:
        case "program", variant, _:
            yield "program", variant, {one.name for stage in stages for one in stage.variants if one.format == "pte"}
        case "artifact" | "placement", stage, variant, _:
            yield "stage", stage, declared
            yield "variant", variant, declared.get(stage, [])
        case "profile", _, kind, stage, *_ if "stage" in KINDS[kind].subject:
            yield "stage", stage, declared


def _unexplained(budget: Budget) -> str:
    """Return what is wrong with a budget that is looser than its measurement suggests, and says no reason."""
    kind = KINDS[budget.kind]
    limits = kind.limits(budget.measured)
    looser = [
        bound
        for bound in (budget.bound, budget.suspicious)
        if bound and (limit := limits.get(bound.form)) is not None
        if (bound.limit - limit if bound.form == "max" else limit - bound.limit) > _DIGIT * limit
    ]
    if budget.reason or not looser:
        return ""
    said = f"{budget.text} is looser than {kind.suggested(budget.measured)}, which {budget.measured:g} suggests"
    return f"{budget.name}: {said}, and it lacks a reason: write one beside it"


def _tokens(name: str) -> str:
    if not (name.isascii() and name.isdigit()):
        raise ValueError(f'{name!r} is not a T_enc: give the number of tokens, as in "512"')
    return name


_Tokens = Annotated[str, AfterValidator(_tokens)]


class _Entry(Table):
    min: float | None = None
    max: float | None = None
    measured: float
    derived_from: Text
    reason: Text = ""


class _Profile(Table):
    about: Text
    system: Text
    model: Text = ""
    runtime: Annotated[str, AfterValidator(toml.one_of(*sorted(DEVICE | ANYWHERE), word="runtime"))]
    source: Text
    rtfx: _Entry | None = None
    chain_ms: dict[_Tokens, _Entry] | None = None
    stage_ms: dict[str, dict[_Tokens, _Entry]] | None = None
    chain_ratio: _Entry | None = None
    stage_ratio: dict[str, _Entry] | None = None
    load_s: dict[str, _Entry] | None = None


class _Size(Table):
    size_mb: _Entry


class _Placement(Table):
    neural_engine_share: _Entry | None = None
    gpu_share: _Entry | None = None
    cpu_share: _Entry | None = None


class _File(Table):
    profile: Filled[_Profile] | None = None
    bundle: _Size | None = None
    artifact: Filled[Filled[_Size]] | None = None
    program: Filled[_Size] | None = None
    placement: Filled[Filled[_Placement]] | None = None


def load(path: Path) -> Budgets:
    """Return the budgets of a file."""
    return parse(toml.read(path, BudgetError), str(path))


def parse(text: str, source: str) -> Budgets:
    """Return the budgets of a file's text; `source` names the file in errors."""
    place = Place(source, BudgetError)
    content = toml.parse(text, place)
    retired = toml.retired(content, place)
    file: _File = toml.checked(_File, content, place)
    machines: dict[tuple[str, str, str], Profile] = {}
    for name, table in (file.profile or {}).items():
        _refuse_meaningless(table, place.at("profile", name))
        one = Profile(name, table.system, table.model, table.runtime)
        known = machines.setdefault((table.system, table.model, table.runtime), one)
        if known is not one:
            raise place.at("profile", name).wrong(f"is for the same machines as {known.name}: merge them")
    budgets = tuple(_budget(entry, place.at(*path)) for path, entry in _entries(file))
    if not budgets:
        raise place.wrong("holds no budget at all, and nothing may pass for want of one")
    found = Budgets(tuple(machines.values()), budgets, retired)
    toml.absent(retired, found.by_name(), place)
    return found


def _refuse_meaningless(profile: _Profile, place: Place) -> None:
    kinds = [key for key in type(profile).model_fields if key in KINDS]
    known = [key for key in kinds if profile.runtime in KINDS[key].runtimes]
    for key in kinds:
        if getattr(profile, key) is not None and key not in known:
            raise place.wrong(f"{key} means nothing for {profile.runtime}: give {', '.join(known)}")


def _entries(table: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], _Entry]]:
    """Yield every entry below a table, with its path."""
    if isinstance(table, _Entry):
        yield path, table
    elif isinstance(table, Table | dict):
        for name, inner in table.items() if isinstance(table, dict) else table:
            yield from _entries(inner, (*path, name))


def _budget(entry: _Entry, place: Place) -> Budget:
    kind = KINDS[_kind(place.path)]
    given: dict[Side, float | None] = {"min": entry.min, "max": entry.max}
    for side in kind.sides:
        if given[side] is None:
            raise place.wrong(f"has no {side}: add {side} = …, in {kind.unit or 'parts of 1'}")
    ideals = {"min": 1.0 if kind.is_share and kind.better == "higher" else None, "max": 0.0}
    bounds = {side: Bound(side, limit, ideals[side], kind.unit) for side, limit in given.items() if limit is not None}
    bound, suspicious = bounds.pop(kind.sides[0]), next(iter(bounds.values()), None)
    budget = Budget(place.path, bound, suspicious, entry.measured, entry.reason)
    if not budget.check(entry.measured).passed:
        raise place.wrong(f"measured {entry.measured:g} does not lie within its own bounds")
    for limit in given.values():
        if limit is not None and _far(limit, entry.measured, kind):
            raise place.wrong(f"{limit:g} can hardly fail: it is too far from {entry.measured:g}, which was measured")
    return budget


def _far(bound: float, measured: float, kind: Kind) -> bool:
    if kind.is_share:
        worst = kind.most if kind.better == "lower" else 0.0
        return abs(bound - measured) >= FARTHEST_SHARE or not kind.worse(worst, bound)
    return not measured / FARTHEST < bound < measured * FARTHEST
