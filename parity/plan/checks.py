"""Checks of a complete run, and the outputs that need gates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Protocol

from parity.declarations import HOST, Case, Stage, System, Tensor, Variant
from parity.verdict import Check, Mode

CHAIN, MODULE, SHIPS = "chain", "module", "ships"


class Executor(Protocol):
    """Part of a runtime that planning needs."""

    @property
    def name(self) -> str: ...

    @property
    def numerics(self) -> str: ...


def plan(system: System, cases: Sequence[Case], runtimes: Sequence[Executor]) -> Iterator[Check]:
    """Yield every check of a system: a complete run has a verdict on each."""
    for case in cases:
        of_case = partial(Check, system=system.name, case=case.name)
        for stage in system.stages:
            yield of_case(stage=stage.name, variant=MODULE, mode="module", runtime="torch", numerics="fp32")
            for runtime in runtimes:
                on_runtime = partial(of_case, stage=stage.name, runtime=runtime.name, numerics=runtime.numerics)
                yield from (
                    on_runtime(variant=variant.name, mode=mode) for variant in stage.variants for mode in modes(stage)
                )
        for runtime in runtimes:
            chained = partial(of_case, stage=CHAIN, mode="chained", runtime=runtime.name, numerics=runtime.numerics)
            yield from (chained(variant=chosen) for chosen in chain_sets(system))


def modes(stage: Stage) -> tuple[Mode, ...]:
    """Return the modes in which each artifact of a stage is checked by itself."""
    return ("forced", "carried") if stage.carries else ("forced",)


def chain_sets(system: System) -> dict[str, dict[str, Variant]]:
    """Return the chained sets of variants: those that ship, and each name that all stages with a choice share."""
    sets = {SHIPS: {stage.name: stage.shipping for stage in system.stages}}
    many = [stage for stage in system.stages if len(stage.variants) > 1]
    for variant in many[0].variants if many else ():
        if all(variant.name in {other.name for other in stage.variants} for stage in many):
            found = {**sets[SHIPS], **{stage.name: stage.variant(variant.name) for stage in many}}
            if found != sets[SHIPS]:
                sets[variant.name] = found
    return sets


def tables(system: System) -> Iterator[tuple[str, str, str]]:
    """Return every (stage, variant, output) that needs gates."""
    for stage in system.stages:
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
