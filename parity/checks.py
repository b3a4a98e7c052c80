"""The checks: the traceable module against upstream, an artifact on golden inputs and its own state, and the chain."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from milrun import ModelError
from parity import chain, contract, convert, evidence, metrics, runtimes, steps, structure
from parity.artifacts import ArtifactError, Artifacts, pieces
from parity.blaming import blame
from parity.cache import Cache
from parity.chain import Chain, Free, Golden, Rehearsal, decided
from parity.convert import ConversionError
from parity.crossing import Crosser, cast, closing, repeated
from parity.declarations import HOST, Arrays, Case, ComputeUnits, Seam, Stage, System, Tensor, Variant
from parity.evidence import Comparison
from parity.fingerprint import code, digest, libraries, tree
from parity.gates import Gates, complete, judge
from parity.runtimes import Runtime, RuntimeFailure, Session
from parity.threads import threads
from parity.verdict import Finding, Mode, Verdict
from parity.weights import Weights

CHAIN, MODULE, SHIPS = "chain", "module", "ships"
_MODULE_VARIANT = Variant(MODULE, "float32")


class Goldens(Protocol):
    """Where the truth comes from; see `golden.store`."""

    def load(self, case: Case) -> Golden: ...

    def identity(self, case: Case) -> str: ...


@dataclass(frozen=True)
class Check:
    """One verdict to be had. The chain's `stage` is "chain" and its `variant` a set of variants, one for each stage."""

    system: str
    stage: str
    variant: str
    case: str
    mode: Mode
    runtime: str
    numerics: str

    @property
    def id(self) -> str:
        return self.verdict(()).id

    def verdict(self, findings: Sequence[Finding]) -> Verdict:
        return Verdict(
            self.system, self.stage, self.variant, self.case, self.mode, self.runtime, self.numerics, tuple(findings)
        )


def plan(system: System, cases: Sequence[Case], runtimes: Sequence[Runtime]) -> Iterator[Check]:
    """Every check of a system: what a complete run has to give a verdict on."""
    for case in cases:
        for stage in system.stages:
            yield Check(system.name, stage.name, MODULE, case.name, "module", "torch", "fp32")
            for runtime in runtimes:
                for variant in stage.variants:
                    for mode in modes(stage):
                        yield Check(
                            system.name, stage.name, variant.name, case.name, mode, runtime.name, runtime.numerics
                        )
        for runtime in runtimes:
            for chosen in chain_sets(system):
                yield Check(system.name, CHAIN, chosen, case.name, "chained", runtime.name, runtime.numerics)


def modes(stage: Stage) -> tuple[Mode, ...]:
    """How each artifact of a stage is checked by itself."""
    return ("forced", "carried") if stage.carries else ("forced",)


def chain_sets(system: System) -> dict[str, dict[str, Variant]]:
    """What is chained: the variants that ship, and each other that every stage has which comes in more than one."""
    sets = {SHIPS: {stage.name: stage.shipping for stage in system.stages}}
    many = [stage for stage in system.stages if len(stage.variants) > 1]
    for variant in many[0].variants if many else ():
        if all(variant.name in {other.name for other in stage.variants} for stage in many):
            found = {**sets[SHIPS], **{stage.name: stage.variant(variant.name) for stage in many}}
            if found != sets[SHIPS]:
                sets[variant.name] = found
    return sets


def tables(system: System) -> Iterator[tuple[str, str, str]]:
    """Every (stage, variant, output) that needs gates."""
    for stage in system.stages:
        for variant in (MODULE, *(variant.name for variant in stage.variants)):
            yield from ((stage.name, variant, output) for output in _gated(stage, (*stage.outputs, *stage.derived)))
    for chosen in chain_sets(system):
        for stage in system.stages:
            outputs = _gated(stage, (*stage.outputs, *decided(stage)))
            yield from ((CHAIN, chosen, f"{stage.name}.{output}") for output in outputs)
        yield from ((CHAIN, chosen, f"{HOST}.{name}") for name in system.decisions)
        yield from ((CHAIN, chosen, name) for name in _given(system))


def _given(system: System) -> dict[str, Tensor]:
    """The decisions that the user gets: they are also judged where nothing keeps the chain on upstream's path."""
    return {name: tensor for name, tensor in system.decisions.items() if tensor.kind == "diarization"}


def _gated(stage: Stage, outputs: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(stage.family(output) for output in outputs))


@dataclass(frozen=True)
class Workbench:
    """What the checks of one system on one runtime share."""

    system: System
    weights: Weights
    goldens: Goldens
    artifacts: Artifacts
    runtime: Runtime
    gates: Gates
    cache: Cache
    compute_units: ComputeUnits | None = None

    def run(self, check: Check) -> Verdict:
        """The verdict, with its blame if it failed. An artifact that can't be had, loaded or run fails as well."""
        # Threads that wait for each other at every op of every step cost more than they give, most on a busy machine.
        small = any(stage.stepped for stage in self.system.stages)
        with threads(1) if small else nullcontext():
            try:
                verdict = self._judged(check)
            except (ArtifactError, ConversionError, RuntimeFailure, ModelError, ValueError) as error:
                verdict = check.verdict([Finding(check.stage, "runs", False, message=str(error))])
            if all(finding.gate == "gated" for finding in verdict.failures):
                return verdict  # where only gates are missing, nothing is known to be wrong
            return replace(verdict, blame=blame(self, check, verdict))

    def _judged(self, check: Check) -> Verdict:
        parts = self.parts(check)
        rate = self.system.reference.sample_rate
        found = evidence.gathered(self.cache, parts, rate, lambda: list(self._compare(check)))
        findings = [*found.contract, *self.judged(check.stage, check.variant, found.values)]
        return replace(check.verdict(findings), seconds=found.seconds, evidence=found.key, reused=found.reused)

    def judged(self, stage: str, variant: str, measured: Mapping[str, Mapping[str, float]]) -> Iterator[Finding]:
        """What the gates say of the metrics of each output."""
        for output, values in measured.items():
            family = self.system.family(stage, output)
            gates = self.gates.of(stage, variant, family)
            yield from (
                (replace(found, output=output) for found in judge(gates, values)) if gates else [_ungated(output)]
            )
            blind = complete(Gates(gates), [(stage, variant, family)]) if gates else []
            yield from (Finding(output, "gated", False, message=why) for why in blind)

    def parts(self, check: Check) -> dict[str, Any]:
        case = self.system.reference.case(check.case)
        parts = {**self._common, "golden": self.goldens.identity(case), "mode": check.mode}
        if check.mode == "module":
            stage = self.system.stage(check.stage)
            return {**parts, "module": code(stage.module), "weights": dict(self.weights.identity)}
        if check.mode == "chained":
            chosen = chain_sets(self.system)[check.variant]
            parts["glue"] = digest(code(self.system.chain, self.system.tables))
            parts["weights"] = dict(self.weights.identity)
        else:
            stage = self.system.stage(check.stage)
            chosen = {stage.name: stage.variant(check.variant)}
        keys = {name: self.artifacts.key(self.system.stage(name), variant) for name, variant in chosen.items()}
        return {**parts, "artifacts": keys, "runtime": self._engine}

    @cached_property
    def _common(self) -> dict[str, Any]:
        return {
            "measured by": digest(
                code(
                    evidence.measure,
                    contract.check,
                    convert.call,
                    convert.traceable,
                    steps.Track,
                    chain.Rehearsal,
                )
            ),
            "metrics": tree(Path(metrics.__file__).parent),
            "structure": tree(Path(structure.__file__).parent),
            "libraries": libraries(
                "numpy", "scipy", "torch", "pyannote-metrics", "pyannote-core", *self.system.reference.packages
            ),
        }

    @cached_property
    def _engine(self) -> dict[str, Any]:
        import milrun

        engine = {
            "name": self.runtime.name,
            "numerics": self.runtime.numerics,
            "compute_units": self.compute_units or "declared",
            "coremltools": libraries("coremltools"),
            "milrun": tree(Path(milrun.__file__).parent),
            "adapters": tree(Path(runtimes.__file__).parent),
        }
        machine = {"system": platform.platform(), "processor": platform.processor() or platform.machine()}
        return engine if self.runtime.name == "milrun" else {**engine, **machine}

    def _compare(self, check: Check) -> Iterator[Comparison | Finding]:
        case = self.system.reference.case(check.case)
        golden = self.goldens.load(case)
        if check.mode == "chained":
            yield from self._chained(check, case, golden)
            return
        stage = self.system.stage(check.stage)
        seam = golden[stage.name]
        if check.mode == "module":
            module = self.module(stage)
            yield from _compared(stage, _MODULE_VARIANT, seam, lambda given: convert.call(module, stage, given))
            return
        variant = stage.variant(check.variant)
        with closing(self.session(stage, variant)) as session:
            cross = Crosser(stage, variant, session)
            expected = self._expected(stage, variant)
            yield from _compared(stage, variant, seam, cross, expected, own=check.mode == "carried")
            if check.mode == "forced":
                parts = pieces(self.system, self.artifacts, stage, variant)
                package = self.artifacts.get(stage, variant).package
                yield from structure.findings(package, stage, variant, parts)
            if check.mode == "carried":
                with closing(self.session(stage, variant)) as fresh:
                    yield from repeated(stage, seam, cross, Crosser(stage, variant, fresh))

    def _chained(self, check: Check, case: Case, golden: Golden) -> Iterator[Comparison | Finding]:
        chosen, tables = chain_sets(self.system)[check.variant], self.tables(case)
        rehearsal = Rehearsal(self.system, golden, tables)
        self.system.chain(rehearsal, case)
        yield from rehearsal.findings()
        with ExitStack() as stack:
            loaded: dict[str, Crosser] = {}

            def execute(name: str, inputs: Arrays) -> dict[str, np.ndarray]:
                if name not in loaded:
                    stage = self.system.stage(name)
                    session = stack.enter_context(closing(self.session(stage, chosen[name])))
                    loaded[name] = Crosser(stage, chosen[name], session)
                return loaded[name](inputs)

            def given(name: str, inputs: Arrays) -> Arrays:
                return cast(self.system.stage(name), chosen[name], inputs)

            run = Chain(self.system, golden, tables, execute, given)
            self.system.chain(run, case)
            free = Free(self.system, tables, execute, given)
            if _given(self.system):
                self.system.chain(free, case)
        yield from self.crossings(run, chosen)
        if _given(self.system):
            yield self._decisions(free.own, golden, _given(self.system))

    def crossings(self, run: Chain, chosen: Mapping[str, Variant]) -> Iterator[Comparison | Finding]:
        """What there is to compare in a run of the chain."""
        for stage in self.system.stages:
            variant, prefix, golden = chosen[stage.name], f"{stage.name}.", run.golden[stage.name]
            yield from (replace(found, output=prefix + found.output) for found in run.findings(stage))
            if declared := decided(stage):
                joined = steps.joined(stage, golden) if stage.stepped else declared
                known = steps.truth(stage, golden) if stage.stepped else golden.inputs
                truth = {name: known[name] for name in declared}
                dtypes = {name: str(value.dtype) for name, value in truth.items()}
                shapes = {name: joined[name] for name in declared}
                yield Comparison(shapes, _MODULE_VARIANT, run.decisions(stage), truth, dtypes, prefix)
            expected = self._expected(stage, variant)
            yield _comparison(stage, variant, golden, run.outputs(stage), expected, prefix)
        if self.system.decisions:
            yield self._decisions(run.own, run.golden, self.system.decisions, f"{HOST}.")

    def _decisions(self, made: Arrays, goldens: Golden, declared: Mapping[str, Tensor], prefix: str = "") -> Comparison:
        """What the host decided beside the stages, against upstream's decisions and what is true of the recording."""
        golden = goldens[HOST]
        truth = {name: golden.outputs[name] for name in declared}
        dtypes = {name: str(value.dtype) for name, value in truth.items()}
        turns = golden.inputs.get("turns")
        return Comparison(declared, _MODULE_VARIANT, made, truth, dtypes, prefix, turns)

    def tables(self, case: Case) -> Arrays:
        with threads(1):  # as goldens are recorded
            return self.system.tables(self.cut_from, case)

    def module(self, stage: Stage) -> Any:
        return convert.traceable(stage, self.cut_from)

    @cached_property
    def cut_from(self) -> Any:
        return self.system.reference.build(self.weights.checkpoint())

    def execute(self, stage: Stage, variant: Variant, inputs: Arrays) -> dict[str, np.ndarray]:
        with closing(self.session(stage, variant)) as session:
            return Crosser(stage, variant, session)(inputs)

    def session(self, stage: Stage, variant: Variant) -> Session:
        artifact = self.artifacts.get(stage, variant)
        return self.runtime.load(artifact.package, self.compute_units or stage.units(variant))

    def _expected(self, stage: Stage, variant: Variant) -> dict[str, str]:
        """The dtypes that the runtime gives: milrun's fp32 numerics have no half precision."""
        wide = self.runtime.numerics == "fp32"
        return {
            name: "float32" if wide and dtype == "float16" else dtype for name, dtype in _dtypes(stage, variant).items()
        }


def _compared(
    stage: Stage,
    variant: Variant,
    golden: Seam,
    cross: Callable[[Arrays], dict[str, np.ndarray]],
    dtypes: Mapping[str, str] | None = None,
    own: bool = False,
) -> Iterator[Comparison | Finding]:
    """Every recorded crossing of a stage, made by `cross`, as one comparison. `own` hands on what it carries itself."""
    expected = dtypes or _dtypes(stage, variant)
    if not stage.stepped:
        yield _comparison(stage, variant, golden, cross(golden.inputs), expected)
        return
    track = steps.walk(stage, golden, cross, lambda inputs: cast(stage, variant, inputs), own)
    yield from track.findings()
    yield _comparison(stage, variant, golden, track.outputs, expected)


def _comparison(
    stage: Stage, variant: Variant, golden: Seam, actual: Arrays, dtypes: Mapping[str, str], prefix: str = ""
) -> Comparison:
    if not stage.stepped:
        return Comparison(stage.outputs, variant, actual, golden.outputs, dtypes, prefix)
    chained = bool(prefix)
    names = [*stage.outputs, *([] if chained else stage.derived)]
    joined, truth = steps.joined(stage, golden), steps.truth(stage, golden)
    wanted = {**{name: tensor.dtype for name, tensor in stage.derived.items()}, **dtypes}
    declared = {name: joined[name] for name in names}
    return Comparison(declared, variant, actual, {name: truth[name] for name in names}, wanted, prefix)


def _dtypes(stage: Stage, variant: Variant) -> dict[str, str]:
    return {name: tensor.dtype_in(variant) for name, tensor in stage.outputs.items()}


def _ungated(output: str) -> Finding:
    return Finding(output, "gated", False, message="no gate judges it: run `python -m parity calibrate`")
