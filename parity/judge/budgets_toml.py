"""Reading of `golden/<system>/budgets.toml`.

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

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator

from parity.base import toml
from parity.base.toml import Filled, Place, Table, Text
from parity.judge.budgets import (
    FARTHEST,
    FARTHEST_SHARE,
    KINDS,
    PLACEMENT_KINDS,
    PROFILE_KINDS,
    SIZE_KINDS,
    Budget,
    BudgetError,
    Budgets,
    Kind,
    Profile,
)

RUNTIMES = ("coreml", "executorch", "milrun")
FACTS = ("about", "system", "model", "runtime", "source")


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
    runtime: Annotated[str, AfterValidator(toml.one_of(*RUNTIMES, word="runtime"))]
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
    profiles = tuple(
        Profile(name, **{fact: getattr(table, fact) for fact in FACTS}) for name, table in (file.profile or {}).items()
    )
    budgets = [
        *(found for one in profiles for found in _of_profile(one, (file.profile or {})[one.name], place)),
        *_of(("bundle",), file.bundle, SIZE_KINDS, place),
        *_of(("artifact",), file.artifact, SIZE_KINDS, place),
        *_of(("program",), file.program, SIZE_KINDS, place),
        *_of(("placement",), file.placement, PLACEMENT_KINDS, place),
    ]
    if not budgets:
        raise place.wrong("holds no budget at all, and nothing may pass for want of one")
    found = Budgets(profiles, tuple(budgets), retired)
    toml.absent(retired, found.by_name(), place)
    _distinct(profiles, place)
    return found


def _of_profile(profile: Profile, table: _Profile, place: Place) -> Iterator[Budget]:
    place = place.at("profile", profile.name)
    kinds = [key for key, kind in PROFILE_KINDS.items() if profile.runtime in kind.runtimes]
    for key in PROFILE_KINDS:
        entries = getattr(table, key)
        if entries is not None and key not in kinds:
            raise place.wrong(f"{key} means nothing for {profile.runtime}: give {', '.join(kinds)}")
        for names, entry in _leaves(entries):
            subject = names if "stage" in KINDS[key].subject else ("chain", *names)
            yield _budget(key, subject, entry, place.at(key, *names))


def _of(path: tuple[str, ...], tables: Any, kinds: Collection[str], place: Place) -> Iterator[Budget]:
    """Return the budgets of the tables below a path."""
    if isinstance(tables, dict):
        for name, inner in tables.items():
            yield from _of((*path, name), inner, kinds, place)
        return
    for key in kinds:
        if entry := getattr(tables, key, None):
            yield _budget(key, path[1:] or path, entry, place.at(*path, key))


def _leaves(entries: Any) -> Iterator[tuple[tuple[str, ...], _Entry]]:
    if isinstance(entries, _Entry):
        yield (), entries
    for name, inner in entries.items() if isinstance(entries, dict) else ():
        yield from (((name, *names), entry) for names, entry in _leaves(inner))


def _budget(key: str, subject: tuple[str, ...], entry: _Entry, place: Place) -> Budget:
    kind = KINDS[key]
    for side in ("min", "max") if kind.two_sided else ("max",) if kind.better == "lower" else ("min",):
        if getattr(entry, side) is None:
            raise place.wrong(f"has no {side}: add {side} = …, in {kind.unit or 'parts of 1'}")
    bad, good = kind.bounds(entry.min, entry.max)
    budget = Budget(
        path=place.path,
        kind=key,
        subject=subject,
        bound=bad,
        suspicious=good,
        measured=entry.measured,
        derived_from=entry.derived_from,
        reason=entry.reason,
    )
    if not budget.check(entry.measured).passed:
        raise place.wrong(f"measured {entry.measured:g} does not lie within its own bounds")
    for bound in (entry.min, entry.max):
        if bound is not None and _far(bound, entry.measured, kind):
            raise place.wrong(f"{bound:g} can hardly fail: it is too far from {entry.measured:g}, which was measured")
    return budget


def _far(bound: float, measured: float, kind: Kind) -> bool:
    if kind.is_share:
        worst = kind.most if kind.better == "lower" else 0.0
        return abs(bound - measured) >= FARTHEST_SHARE or not kind.worse(worst, bound)
    return not measured / FARTHEST < bound < measured * FARTHEST


def _distinct(profiles: tuple[Profile, ...], place: Place) -> None:
    machines: dict[tuple[str, str, str], str] = {}
    for one in profiles:
        other = machines.setdefault((one.system, one.model, one.runtime), one.name)
        if other != one.name:
            raise place.at("profile", one.name).wrong(f"is for the same machines as {other}: merge them")
