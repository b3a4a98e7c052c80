"""Budgets as data: how fast, how small and where, each between too bad and too good to be true.

    [profile.NAME]                      about, system, model (optional), runtime, source
    rtfx = BUDGET                       seconds of audio per second, mean over the cases
    chain_ms.T_ENC = BUDGET             the whole chain          stage_ms.STAGE.T_ENC = BUDGET     one stage of it
    chain_ratio = BUDGET                against PyTorch eager    stage_ratio.STAGE = BUDGET        in the same run
    load_s.STAGE = BUDGET               the first load
    [bundle]                            size_mb = BUDGET         all artifacts that ship; a megabyte is 10^6 bytes
    [artifact.STAGE.VARIANT]            size_mb = BUDGET
    [placement.STAGE.VARIANT]           neural_engine_share, gpu_share, cpu_share = BUDGET, from the compute plan
    [retired]                           "NAME.OF.A.BUDGET" = "why it was taken away"

A BUDGET is `{ min = …, max = …, measured = …, derived_from = "…", reason = "…" }`. Times in ms compare on one device
alone, so a profile whose runtime is milrun, which runs on any machine, has ratios instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parity.base import toml
from parity.base.toml import Place
from parity.declarations import Stage
from parity.judge.budget import KINDS, PLACEMENT_KINDS, PROFILE_KINDS, SIZE_KINDS, Budget, BudgetError, Kind, read

FACTS = ("about", "system", "model", "runtime", "source")
RUNTIMES = ("coreml", "executorch", "milrun")
SPEEDS = ("stage_ms", "stage_ratio")


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
    profiles: tuple[Profile, ...]
    budgets: tuple[Budget, ...]
    retired: Mapping[str, str] = field(default_factory=dict)

    def by_name(self) -> dict[str, Budget]:
        return {budget.name: budget for budget in self.budgets}

    def of(self, *path: str) -> Budget:
        """A budget by its path: of("profile", "linux", "stage_ratio", "vocoder"). That there is none is an error."""
        known, name = self.by_name(), ".".join(path)
        if name not in known:
            raise BudgetError(f"there is no budget {name}{toml.nearest(name, known)}")
        return known[name]

    def profile(self, name: str) -> Profile:
        for profile in self.profiles:
            if profile.name == name:
                return profile
        known = [profile.name for profile in self.profiles]
        raise BudgetError(f"there is no device profile {name!r}{toml.nearest(name, known)}")

    def here(self, system: str, model: str, runtime: str) -> Profile | None:
        """The profile of a machine: the one of its model, else the one of its whole system; None if it has none."""
        fitting = [one for one in self.profiles if (one.system, one.runtime) == (system, runtime)]
        for wanted in dict.fromkeys((model, "")):
            for profile in fitting:
                if profile.model == wanted:
                    return profile
        return None


def load(path: Path) -> Budgets:
    return parse(toml.read(path, BudgetError), str(path))


def parse(text: str, source: str) -> Budgets:
    """The budgets of a file's text; `source` names the file in errors."""
    place = Place(source, BudgetError)
    content = dict(toml.parse(text, place))
    retired = toml.retired(content, place)
    place.known(content, ("profile", "bundle", "artifact", "placement", "retired"), "table")
    profiles, budgets = [], []
    for name, table in _tables(content, "profile", place):
        at = place.at("profile", name)
        profiles.append(_profile(name, table, at))
        kinds = {key: kind for key, kind in PROFILE_KINDS.items() if profiles[-1].runtime in kind.runtimes}
        for key in table:
            if key in PROFILE_KINDS and key not in kinds:
                raise at.wrong(f"{key} means nothing for {profiles[-1].runtime}: give {', '.join(kinds)}")
        at.known(table, (*FACTS, *kinds))
        budgets += [found for key in kinds if key in table for found in _budgets(key, table[key], at.at(key))]
    if "bundle" in content:
        budgets += _group(content["bundle"], SIZE_KINDS, place.at("bundle"))
    for group, kinds in (("artifact", SIZE_KINDS), ("placement", PLACEMENT_KINDS)):
        for stage, variants in _tables(content, group, place):
            for variant, table in variants.items():
                budgets += _group(table, kinds, place.at(group, stage, variant))
    if not budgets:
        raise place.wrong("holds no budget at all, and nothing may pass for want of one")
    found = Budgets(tuple(profiles), tuple(budgets), retired)
    _distinct(found, place)
    return found


def complete(budgets: Budgets, stages: Sequence[Stage], profile: Profile | None) -> list[str]:
    """What is missing or too much: each artifact that ships has a size, and on the profile's machine a speed."""
    if not stages:
        return ["no stage is declared at all"]
    problems, known = [], budgets.by_name()
    declared = {stage.name: [variant.name for variant in stage.variants] for stage in stages}
    for budget in budgets.budgets:
        stage, variant = _artifact(budget)
        if stage is not None and stage not in declared:
            problems.append(f"{budget.name} bounds a stage that is declared nowhere{toml.nearest(stage, declared)}")
        elif stage is not None and variant is not None and variant not in declared[stage]:
            hint = toml.nearest(variant, declared[stage])
            problems.append(f"{budget.name} bounds a variant that is declared nowhere{hint}")
    for one in stages:
        size = f"artifact.{one.name}.{one.shipping.name}.size_mb"
        if size not in known:
            problems.append(f"{size} is missing: build the artifact and set it")
        if profile and not any(_bounds_speed(budget, profile, one) for budget in budgets.budgets):
            problems.append(f"profile {profile.name} bounds no speed of {one.name}: run the bench there and set it")
    return problems


def _profile(name: str, table: Mapping[str, Any], place: Place) -> Profile:
    facts = {fact: place.text(table, fact, "" if fact == "model" else None) for fact in FACTS}
    place.known([facts["runtime"]], RUNTIMES, "runtime")
    return Profile(name, **facts)


def _tables(content: Mapping[str, Any], key: str, place: Place) -> list[tuple[str, Mapping[str, Any]]]:
    if key not in content:
        return []
    return [(name, place.at(key, name).table(table)) for name, table in place.at(key).table(content[key]).items()]


def _group(table: object, kinds: Mapping[str, Kind], place: Place) -> list[Budget]:
    entries = place.table(table)
    place.known(entries, tuple(kinds))
    return [found for key, entry in entries.items() for found in _budgets(key, entry, place.at(key))]


def _budgets(kind: str, entry: object, place: Place, subject: tuple[str, ...] = ()) -> list[Budget]:
    keys = KINDS[kind].subject
    if len(subject) == len(keys):
        return [read(kind, place.table(entry), place, subject)]
    key, found = keys[len(subject)], []
    for name, inner in place.table(entry).items():
        if name in ("min", "max", "measured", "derived_from", "reason"):
            raise place.wrong(f"is a budget where a table by {key} is expected: {kind}.{'.'.join(keys)}")
        if key == "T_enc" and not (name.isascii() and name.isdigit()):
            raise place.wrong(f'{name!r} is no T_enc: give the number of tokens, as in "512"')
        found += _budgets(kind, inner, place.at(name), (*subject, name))
    return found


def _distinct(budgets: Budgets, place: Place) -> None:
    toml.absent(budgets.retired, budgets.by_name(), place)
    machines: dict[tuple[str, str, str], str] = {}
    for profile in budgets.profiles:
        machine = profile.system, profile.model, profile.runtime
        if machine in machines:
            raise place.at("profile", profile.name).wrong(
                f"is for the same machines as {machines[machine]}: merge them"
            )
        machines[machine] = profile.name


def _artifact(budget: Budget) -> tuple[str | None, str | None]:
    """The stage and the variant that a budget is about."""
    if budget.path[0] in ("artifact", "placement"):
        return budget.path[1], budget.path[2]
    if "stage" in KINDS[budget.kind].subject:
        return budget.subject[0], None
    return None, None


def _bounds_speed(budget: Budget, profile: Profile, stage: Stage) -> bool:
    of_profile = budget.path[:2] == ("profile", profile.name)
    return of_profile and budget.kind in SPEEDS and budget.subject[0] == stage.name
