"""Checks of a complete run, and the outputs that need gates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Protocol

from parity.declarations import HOST, Case, Dim, Format, Stage, System, Tensor, Variant
from parity.declarations.stages import ALL, GLUE, SHORT
from parity.declarations.stages import CHAIN as CHAIN
from parity.declarations.stages import MODULE as MODULE
from parity.declarations.stages import SHIPS as SHIPS
from parity.verdict import Check, Mode

LARGE = 40_000_000
"""Numbers that go into and come out of a stage at its largest sizes, from which on only what ships is run there."""


class Executor(Protocol):
    """Part of a runtime that planning needs."""

    @property
    def name(self) -> str: ...

    @property
    def numerics(self) -> str: ...

    @property
    def format(self) -> Format: ...


def plan(system: System, cases: Sequence[Case], runtimes: Sequence[Executor]) -> Iterator[Check]:
    """Yield every check of a system: a complete run has a verdict on each. A runtime has those of its format."""
    in_torch = partial(Check, system=system.name, runtime="torch", numerics="fp32")

    def on(runtime: Executor, case: Case) -> Callable[..., Check]:
        return partial(Check, system=system.name, case=case.name, runtime=runtime.name, numerics=runtime.numerics)

    def of_artifacts(stage: Stage, case: Case, modes: tuple[Mode, ...], variants: Sequence[Variant]) -> Iterator[Check]:
        for runtime in runtimes:
            built = [variant.name for variant in variants if variant.format == runtime.format]
            check = partial(on(runtime, case), stage=stage.name)
            yield from (check(variant=variant, mode=mode) for variant in built for mode in modes)

    if cases:
        every, names = len(cases) == len(system.reference.cases), {case.name for case in cases}
        groups = [group for group in (ALL, SHORT) if names == {case.name for case in chosen(system, group)}]
        yield from (in_torch(stage=CHAIN, variant=GLUE, mode="exercised", case=group) for group in groups[:1])
        for stage in system.stages:
            yield from of_artifacts(stage, cases[0], ("probed",), stage.variants)
            yield from of_artifacts(stage, cases[0], ("stretched",), stretched(stage, every))
    for case in cases:
        for stage in system.every:
            modes: tuple[Mode, ...] = ("forced", "carried") if stage.carries else ("forced",)
            yield in_torch(stage=stage.name, variant=MODULE, mode="module", case=case.name)
            yield from of_artifacts(stage, case, modes, stage.variants)
        for runtime in runtimes:
            sets = [name for name, found in chain_sets(system).items() if format_of(found) == runtime.format]
            yield from (on(runtime, case)(stage=CHAIN, variant=name, mode="chained") for name in sets)


def chosen(system: System, name: str) -> list[Case]:
    """Return the cases that a name in place of a case stands for, or the one case of this name."""
    if name in (ALL, SHORT):
        return [case for case in system.reference.cases if case.short or name == ALL]
    return [system.reference.case(name)]


def dims(stage: Stage) -> dict[str, Dim]:
    """Return the dynamic dimensions of a stage by their names."""
    tensors = (*stage.inputs.values(), *stage.outputs.values())
    return {size.name: size for tensor in tensors for size in tensor.shape if isinstance(size, Dim)}


def stretched(stage: Stage, every: bool) -> Sequence[Variant]:
    """Return the variants that a run judges at sizes of a stage that take long.

    Args:
        stage: The stage.
        every: True in a run of all cases, which judges every variant. Another one judges what ships, at the end of a
            range; a rare bucket takes minutes.
    """
    if not large(stage):
        return ()
    return stage.variants if every else (stage.shipping,) if stage.common is None else ()


def large(stage: Stage) -> bool:
    """Return whether a stage at its largest sizes takes too long for every variant in every run."""
    if stage.common is not None:
        return stage.common < max(stage.buckets)
    highest = {name: dim.high for name, dim in dims(stage).items()}
    tensors = (*stage.inputs.values(), *stage.outputs.values())
    return bool(highest) and sum(prod(tensor.sizes(highest)) for tensor in tensors) > LARGE


def chain_sets(system: System) -> dict[str, dict[str, Variant]]:
    """Return the chained sets of variants: those that ship, and each name that all stages with a choice share.

    A chain has one format. A stage has a choice if several of its variants have that format and a chain. A variant
    that a stage declares `unchained` has none, even if it ships.
    """
    ships = _ships(system)
    sets = {} if any(own.unchained for own in ships.values()) else {SHIPS: ships}
    for name, found in _named(system):
        whole = len(found) == len(system.stages) and not any(own.unchained for own in found.values())
        if whole and found not in sets.values():
            sets[name] = found
    return sets


def _ships(system: System) -> dict[str, Variant]:
    chosen = {stage.name: stage.shipping for stage in system.stages}
    format_of(chosen)
    return chosen


def excused(system: System) -> dict[str, str]:
    """Return the chains and the variants that are not compared with upstream, and why: stages declare them so."""
    reasons = {name: [own.unchained for own in found.values() if own.unchained] for name, found in _named(system)}
    pairs = ((stage, own) for stage in system.stages for own in stage.variants if own.replayed)
    return {f"the chain of {name}": found[0] for name, found in reasons.items() if found} | {
        f"{stage.name} {own.name} beside upstream": own.replayed for stage, own in pairs
    }


def _named(system: System) -> Iterator[tuple[str, dict[str, Variant]]]:
    """Yield each name of a variant, with the variant that each stage would have in its chain, if it has one."""
    for variant in {variant.name: variant for stage in system.stages for variant in stage.variants}.values():
        yield variant.name, {stage.name: own for stage in system.stages if (own := _counterpart(stage, variant))}


def _counterpart(stage: Stage, variant: Variant) -> Variant | None:
    """Return a stage's variant of the same format and name, or the only one of that format; None if it has neither."""
    alike = [own for own in stage.variants if own.format == variant.format]
    named = [own for own in alike if own.name == variant.name]
    chained = [own for own in alike if not own.unchained]
    return next(iter(named), chained[0] if len(chained) == 1 else None)


@dataclass(frozen=True)
class Deployed:
    """A chained set of variants as an app ships it, and the name of the set."""

    name: str
    variants: Mapping[str, Variant]

    @property
    def whole(self) -> bool:
        """True where all stages are one file: methods of a program."""
        return format_of(self.variants) == "pte"

    @property
    def program(self) -> str:
        """The name of the variant that all stages share."""
        return next(iter(self.variants.values())).name


def deployed(system: System, format: Format) -> Deployed | None:
    """Return what an app ships in a format: the variants that ship, or the first chained set of another format.

    None if there is no such set, or if what ships is unchained.
    """
    sets = chain_sets(system)
    if SHIPS not in sets and format_of(_ships(system)) == format:
        return None
    return next((Deployed(name, chosen) for name, chosen in sets.items() if format_of(chosen) == format), None)


def format_of(chosen: Mapping[str, Variant]) -> Format:
    """Return the format of a chained set of variants, or raise a ValueError where they are of several."""
    first, *others = chosen.items()
    for stage, variant in others:
        if variant.format != first[1].format:
            raise ValueError(
                f"one chain cannot join {first[0]} {first[1].name}, a {first[1].format}, and {stage} {variant.name}, a "
                f"{variant.format}: declare variants of one format that ship, and of one name"
            )
    return first[1].format


def formats(system: System) -> set[Format]:
    """Return the formats that a system is built in."""
    return {variant.format for stage in system.stages for variant in stage.variants}


def tables(system: System) -> Iterator[tuple[str, str, str]]:
    """Return every (stage, variant, output) that needs gates."""
    for stage in system.every:
        for variant in (MODULE, *(variant.name for variant in stage.variants)):
            yield from ((stage.name, variant, output) for output in _gated(stage, (*stage.outputs, *stage.derived)))
    for chosen in chain_sets(system):
        for stage in system.stages:
            outputs = _gated(stage, (*stage.outputs, *stage.decided))
            yield from ((CHAIN, chosen, f"{stage.name}.{output}") for output in outputs)
        yield from ((CHAIN, chosen, f"{HOST}.{name}") for name in system.decisions)
        yield from ((CHAIN, chosen, name) for name in users(system))


def users(system: System) -> dict[str, Tensor]:
    """Return the decisions that the user gets. They are also judged on the chain's own path."""
    return {name: tensor for name, tensor in system.decisions.items() if tensor.kind == "diarization"}


def _gated(stage: Stage, outputs: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(stage.family(output) for output in outputs))
