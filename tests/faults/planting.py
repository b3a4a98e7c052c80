"""Ways to plant a bug: in a stage or its package, in the host code, in what a runtime gives."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from parity.base.fingerprint import digest
from parity.build import convert
from parity.build.artifacts import Artifact, Built, facts_of
from parity.build.palettes import Palettes
from parity.build.program import quantized, write
from parity.declarations import Stage, System, Variant
from parity.judge.workbench import Workbench
from parity.run.runtime import Session
from tests.faults.form import Fault
from tests.faults.parrot import parrot, recast

Change = Callable[[Stage], Stage]


def same(stage: Stage) -> Stage:
    return stage


@dataclass(frozen=True)
class Converted:
    """Plants in what a stage is converted from, or by; the check goes by the stage as it is declared."""

    change: Change = same
    built_as: Variant | None = None

    @property
    def where(self) -> str:
        return "variant" if self.change is same else "stage"

    def __call__(self, clean: Workbench, fault: Fault, folder: Path) -> Workbench:
        if fault.mode == "module":
            return replace(clean, system=_redeclared(clean.system, fault.stage, self.change))

        def made(stage: Stage, variant: Variant) -> Path:
            package = folder / "planted.mlpackage"
            return package if package.exists() else self._converted(clean, stage, variant, package)

        return replace(clean, artifacts=_others(clean, fault, made))

    def _converted(self, clean: Workbench, stage: Stage, variant: Variant, package: Path) -> Path:
        package.parent.mkdir(parents=True, exist_ok=True)
        built_as, planted = self.built_as or variant, self.change(stage)
        source = package.with_name("plain.mlpackage") if built_as.compressed else package
        facts = facts_of(clean.system, stage, variant, clean.weights.identity)
        convert.convert(planted, built_as, convert.traceable(planted, clean.cut_from), source, facts)
        if built_as.compressed:
            convert.compress(built_as, source, package, facts, Palettes(clean.cache))
        return package


@dataclass(frozen=True)
class Lowered:
    """A way to plant in a method of a program: in the module as it is lowered, or in the variant it is quantized as."""

    change: Callable[[Any], None] = lambda module: None
    built_as: Variant | None = None
    where: str = field(default="program", init=False)

    def __call__(self, clean: Workbench, fault: Fault, folder: Path) -> Workbench:
        def made(stage: Stage, variant: Variant) -> Path:
            path = folder / "planted.pte"
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                module = quantized(convert.traceable(stage, clean.cut_from), stage, self.built_as or variant)
                self.change(module)
                facts = facts_of(clean.system, stage, variant, clean.weights.identity)
                write([stage], {stage.name: module}, path, facts, clean.system.contract)
            return path

        return replace(clean, artifacts=_others(clean, fault, made))


def module(mutant: Callable[[Any], Any]) -> Converted:
    return Converted(lambda stage: replace(stage, module=mutant))


def variant(built_as: Variant) -> Converted:
    """Build the stage as another variant than the one that is said."""
    return Converted(built_as=built_as)


def outputs(rename: Callable[[str], str | None]) -> Converted:
    """Rename outputs, or drop the ones that are renamed to None."""

    def change(stage: Stage) -> Stage:
        names = {name: rename(name) for name in stage.outputs}
        kept = [position for position, name in enumerate(names) if names[name]]
        declared = {new: stage.outputs[name] for name, new in names.items() if new}
        return replace(stage, module=lambda upstream: _Some(stage.module(upstream), kept), outputs=declared)

    return Converted(change)


def renamed(old: str, new: str | None) -> Converted:
    return outputs(lambda name: new if name == old else name)


def swapped(one: str, other: str) -> Converted:
    """Give two outputs under each other's names."""

    def change(stage: Stage) -> Stage:
        names = list(stage.outputs)
        trade = {one: other, other: one}
        order = [names.index(trade.get(name, name)) for name in names]
        return replace(stage, module=lambda upstream: _Some(stage.module(upstream), order))

    return Converted(change)


class _Some(nn.Module):
    """Some of a module's outputs, in the order of `kept`."""

    def __init__(self, whole: Any, kept: list[int]) -> None:
        super().__init__()
        self.whole, self.kept = whole, kept

    def forward(self, *inputs: Any) -> tuple[Any, ...]:
        results = self.whole(*inputs)
        results = results if isinstance(results, tuple) else (results,)
        return tuple(results[position] for position in self.kept)


@dataclass(frozen=True)
class Declared:
    """Declares a stage otherwise than its artifact was built."""

    change: Change
    where: str = field(default="declaration", init=False)

    def __call__(self, clean: Workbench, fault: Fault, folder: Path) -> Workbench:
        def made(stage: Stage, variant: Variant) -> Path:
            known = clean.system.stage(stage.name)
            return clean.artifacts.get(known, known.variant(variant.name)).package

        system = _redeclared(clean.system, fault.stage, self.change)
        return replace(clean, system=system, artifacts=_others(clean, fault, made))


@dataclass(frozen=True)
class Another:
    """Puts another artifact in the place of a stage's: of another variant, or of another system with such a stage."""

    variant: Variant
    system: System | None = None
    where: str = field(default="package", init=False)

    def __call__(self, clean: Workbench, fault: Fault, folder: Path) -> Workbench:
        system = self.system or clean.system
        known: Any = clean.artifacts
        built = Built(system, clean.weights, known.cache)

        def made(stage: Stage, variant: Variant) -> Path:
            return built.get(system.stage(stage.name), self.variant).package

        return replace(clean, artifacts=_others(clean, fault, made))


@dataclass(frozen=True)
class Others:
    """Artifacts, of which those of the fault's stage are others."""

    clean: Any
    fault: Fault
    made: Callable[[Stage, Variant], Path]

    def key(self, stage: Stage, variant: Variant) -> str:
        if stage.name != self.fault.stage:
            return str(self.clean.key(stage, variant))
        weights = dict(self.clean.weights.identity)
        return digest({"fault": self.fault.name, "stage": stage.name, "variant": variant.name, "weights": weights})

    def get(self, stage: Stage, variant: Variant) -> Artifact:
        if stage.name != self.fault.stage:
            return self.clean.get(stage, variant)
        return Artifact(stage, variant, self.made(stage, variant), self.key(stage, variant))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.clean, name)


def _others(clean: Workbench, fault: Fault, made: Callable[[Stage, Variant], Path]) -> Any:
    return Others(clean.artifacts, fault, made)


@dataclass(frozen=True)
class AsItIs:
    """Plants nothing."""

    where: str = field(default="nowhere", init=False)

    def __call__(self, clean: Workbench, fault: Fault, folder: Path) -> Workbench:
        return clean


@dataclass(frozen=True)
class Host:
    """Puts other host code between stages that give exactly what upstream gave."""

    glue: Any
    where: str = field(default="host", init=False)

    def __call__(self, clean: Workbench, fault: Fault, folder: Path) -> Workbench:
        return parrot(clean, self.glue, fault.case)


@dataclass(frozen=True)
class Sessions:
    """Tampers with the sessions of a stage: with what they give, or with how the host uses them."""

    tampered: Callable[[Session], Session]
    where: str = field(default="runtime", init=False)

    def __call__(self, clean: Workbench, fault: Fault, folder: Path) -> Workbench:
        return recast(clean, _Tampering, stage_name=fault.stage, tampered=self.tampered)


@dataclass(frozen=True, kw_only=True)
class _Tampering(Workbench):
    stage_name: str
    tampered: Callable[[Session], Session]

    def session(self, stage: Stage, variant: Variant) -> Session:
        session = super().session(stage, variant)
        return self.tampered(session) if stage.name == self.stage_name else session


def output(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Sessions:
    """Change an output before the host gets it."""
    return series(name, lambda: change)


def series(name: str, begin: Callable[[], Callable[[np.ndarray], np.ndarray]]) -> Sessions:
    """Change an output by what it was before; `begin` makes the change for a new session."""
    return Sessions(lambda session: _Changed(session, name, begin()))


@dataclass
class _Changed:
    session: Session
    name: str
    change: Callable[[np.ndarray], np.ndarray]
    load_seconds: float = 0.0
    run_seconds: float = 0.0

    def run(self, inputs: Any, state: Any = None) -> dict[str, np.ndarray]:
        outputs = self.session.run(inputs, state)
        return {**outputs, self.name: self.change(outputs[self.name])}

    def make_state(self) -> Any:
        return self.session.make_state()

    def close(self) -> None:
        self.session.close()


def _redeclared(system: System, name: str, change: Change) -> System:
    def other(stages: Collection[Stage]) -> tuple[Stage, ...]:
        return tuple(change(stage) if stage.name == name else stage for stage in stages)

    return replace(system, stages=other(system.stages), inner=other(system.inner))
