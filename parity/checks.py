"""The three checks: the traceable module against upstream, an artifact on golden inputs, and the artifacts chained."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from milrun import ModelError
from parity import contract, convert, evidence, metrics, runtimes
from parity.artifacts import ArtifactError, Artifacts
from parity.blaming import blame
from parity.cache import Cache
from parity.convert import ConversionError
from parity.declarations import Arrays, Case, ComputeUnits, Seam, Stage, System, Variant
from parity.evidence import Comparison
from parity.fingerprint import code, digest, libraries, tree
from parity.gates import Gates, complete, judge
from parity.runtimes import Runtime, RuntimeFailure, Session
from parity.verdict import Finding, Mode, Verdict
from parity.weights import Weights

CHAIN, MODULE, SHIPS = "chain", "module", "ships"
_MODULE_VARIANT = Variant(MODULE, "float32")


class Golden(Protocol):
    def __getitem__(self, stage: str) -> Seam: ...


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
                    yield Check(
                        system.name, stage.name, variant.name, case.name, "forced", runtime.name, runtime.numerics
                    )
        for runtime in runtimes:
            for chosen in chain_sets(system):
                yield Check(system.name, CHAIN, chosen, case.name, "chained", runtime.name, runtime.numerics)


def chain_sets(system: System) -> dict[str, dict[str, Variant]]:
    """What is chained: the variants that ship, and each variant that every stage has."""
    sets = {SHIPS: {stage.name: stage.shipping for stage in system.stages}}
    for variant in system.stages[0].variants:
        if all(variant.name in {other.name for other in stage.variants} for stage in system.stages):
            sets[variant.name] = {stage.name: stage.variant(variant.name) for stage in system.stages}
    return sets


def tables(system: System) -> Iterator[tuple[str, str, str]]:
    """Every (stage, variant, output) that needs gates."""
    for stage in system.stages:
        for variant in (MODULE, *(variant.name for variant in stage.variants)):
            yield from ((stage.name, variant, output) for output in stage.outputs)
    for chosen in chain_sets(system):
        for stage in system.stages:
            yield from ((CHAIN, chosen, f"{stage.name}.{name}") for name in (*stage.outputs, *_decided(stage)))


def _decided(stage: Stage) -> list[str]:
    """Inputs that are the host's decisions, such as durations: compared in the chain, where the host makes them."""
    return [name for name, tensor in stage.inputs.items() if tensor.kind == "durations"]


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
        try:
            verdict = self._judged(check)
        except (ArtifactError, ConversionError, RuntimeFailure, ModelError, ValueError) as error:
            verdict = check.verdict([Finding(check.stage, "runs", False, message=str(error))])
        return verdict if verdict.passed else replace(verdict, blame=blame(self, check, verdict))

    def _judged(self, check: Check) -> Verdict:
        parts = self.parts(check)
        rate = self.system.reference.sample_rate
        found = evidence.gathered(self.cache, parts, rate, lambda: list(self._compare(check)))
        findings = [*found.contract, *self.judged(check.stage, check.variant, found.values)]
        return replace(check.verdict(findings), seconds=found.seconds, evidence=found.key, reused=found.reused)

    def judged(self, stage: str, variant: str, measured: Mapping[str, Mapping[str, float]]) -> Iterator[Finding]:
        """What the gates say of the metrics of each output."""
        for output, values in measured.items():
            gates = self.gates.of(stage, variant, output)
            yield from judge(gates, values) if gates else [_ungated(output)]
            blind = complete(Gates(gates), [(stage, variant, output)]) if gates else []
            yield from (Finding(output, "gated", False, message=why) for why in blind)

    def parts(self, check: Check) -> dict[str, Any]:
        case = self.system.reference.case(check.case)
        parts = {**self._common, "golden": self.goldens.identity(case), "mode": check.mode}
        if check.mode == "module":
            stage = self.system.stage(check.stage)
            return {**parts, "module": code(stage.module), "weights": dict(self.weights.identity)}
        if check.mode == "forced":
            stage = self.system.stage(check.stage)
            chosen = {stage.name: stage.variant(check.variant)}
        else:
            chosen = chain_sets(self.system)[check.variant]
            parts["glue"] = digest(code(self.system.chain))
        keys = {name: self.artifacts.key(self.system.stage(name), variant) for name, variant in chosen.items()}
        return {**parts, "artifacts": keys, "runtime": self._engine}

    @cached_property
    def _common(self) -> dict[str, Any]:
        return {
            "measured by": digest(code(evidence.measure, contract.check, convert.call, convert.traceable)),
            "metrics": tree(Path(metrics.__file__).parent),
            "libraries": libraries("numpy", "scipy", "torch", *self.system.reference.packages),
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
            actual = convert.call(self.module(stage), stage, seam.inputs)
            yield Comparison(stage.outputs, _MODULE_VARIANT, actual, seam.outputs, _dtypes(stage, _MODULE_VARIANT))
            return
        variant = stage.variant(check.variant)
        actual = self.execute(stage, variant, seam.inputs)
        yield Comparison(stage.outputs, variant, actual, seam.outputs, self._expected(stage, variant))

    def _chained(self, check: Check, case: Case, golden: Golden) -> Iterator[Comparison | Finding]:
        chosen = chain_sets(self.system)[check.variant]
        run = Chain(golden, lambda name, inputs: self.execute(self.system.stage(name), chosen[name], inputs))
        self.system.chain(run, case)
        yield from self.crossings(run, chosen)

    def crossings(self, run: Chain, chosen: Mapping[str, Variant]) -> Iterator[Comparison | Finding]:
        """What there is to compare in a run of the chain."""
        for stage in self.system.stages:
            variant, prefix, truth = chosen[stage.name], f"{stage.name}.", run.golden[stage.name]
            crossed = run.crossed.get(stage.name, Seam(stage.name, {}, {}))
            yield from _glue(self.system, stage, run)
            yield Comparison(
                stage.outputs, variant, crossed.outputs, truth.outputs, self._expected(stage, variant), prefix
            )

    def module(self, stage: Stage) -> Any:
        return convert.traceable(stage, self.cut_from)

    @cached_property
    def cut_from(self) -> Any:
        return self.system.reference.build(self.weights.checkpoint())

    def execute(self, stage: Stage, variant: Variant, inputs: Arrays) -> dict[str, np.ndarray]:
        session = self.session(stage, variant)
        try:
            return session.run(cast(stage, variant, inputs))
        finally:
            session.close()

    def session(self, stage: Stage, variant: Variant) -> Session:
        artifact = self.artifacts.get(stage, variant)
        return self.runtime.load(artifact.package, self.compute_units or stage.compute_units)

    def _expected(self, stage: Stage, variant: Variant) -> dict[str, str]:
        """The dtypes that the runtime gives: milrun's fp32 numerics have no half precision."""
        wide = self.runtime.numerics == "fp32"
        return {
            name: "float32" if wide and dtype == "float16" else dtype for name, dtype in _dtypes(stage, variant).items()
        }


def cast(stage: Stage, variant: Variant, inputs: Arrays) -> dict[str, np.ndarray]:
    """Inputs in the declared dtypes, as the app casts between half and single precision. Integers stay as they are."""
    result = {}
    for name, value in inputs.items():
        declared = stage.inputs.get(name)
        wanted = declared.dtype_in(variant) if declared else value.dtype
        floats = value.dtype.kind == "f" and np.dtype(wanted).kind == "f"
        result[name] = value.astype(wanted) if floats else value
    return result


def _dtypes(stage: Stage, variant: Variant) -> dict[str, str]:
    return {name: tensor.dtype_in(variant) for name, tensor in stage.outputs.items()}


def _ungated(output: str) -> Finding:
    return Finding(output, "gated", False, message="no gate judges it: run `python -m parity calibrate`")


class Chain:
    """The `Run` that the host glue is given: remembers what crossed each stage, and what was decided."""

    def __init__(self, golden: Golden, execute: Callable[[str, Arrays], dict[str, np.ndarray]]) -> None:
        self.golden, self._execute = golden, execute
        self.crossed: dict[str, Seam] = {}
        self.decided: dict[str, dict[str, np.ndarray]] = {}

    def __call__(self, stage: str, inputs: Arrays) -> Mapping[str, np.ndarray]:
        self.crossed[stage] = Seam(stage, dict(inputs), self._execute(stage, inputs))
        return self.crossed[stage].outputs

    def decide(self, stage: str, name: str, value: np.ndarray) -> np.ndarray:
        self.decided.setdefault(stage, {})[name] = value
        return self.golden[stage].inputs[name]


def _glue(system: System, stage: Stage, run: Chain) -> Iterator[Comparison | Finding]:
    """What the host itself made of the case has to be what upstream had, to the bit; its decisions have gates."""
    golden, truth = run.golden, run.golden[stage.name].inputs
    names = _decided(stage)
    if names:
        declared = {name: stage.inputs[name] for name in names}
        expected = {name: truth[name] for name in names}
        dtypes = {name: tensor.dtype for name, tensor in declared.items()}
        yield Comparison(declared, _MODULE_VARIANT, run.decided.get(stage.name, {}), expected, dtypes, f"{stage.name}.")
    given = run.crossed[stage.name].inputs if stage.name in run.crossed else {}
    carried = [value for other in system.stages for value in golden[other.name].outputs.values()]
    for name in stage.inputs:
        if name in names or any(np.array_equal(truth[name], value) for value in carried):
            continue
        same = name in given and np.array_equal(given[name], truth[name])
        message = "made by the host as upstream has it" if same else "the host made another value than upstream has"
        yield Finding(f"{stage.name}.{name}", "glue", same, message=message)
