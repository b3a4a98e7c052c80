"""The workbench of a system: it runs a check, stores the evidence, and judges it by the gates."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

import milrun
from milrun import ModelError
from parity import run
from parity.base.cache import Cache
from parity.base.fingerprint import code, digest, tree
from parity.base.libraries import installed, threads, versions
from parity.base.paths import project
from parity.build import convert
from parity.build.artifacts import ArtifactError, Artifacts, Given, facts_of, pieces
from parity.build.convert import ConversionError
from parity.build.program import quantized
from parity.compare import evidence, metrics, modes
from parity.compare.modes import PLAIN, Comparison, stage_outputs
from parity.declarations import Arrays, Case, ComputeUnits, Golden, Stage, System, Tensor, Variant
from parity.judge import exercise, package, probes, program
from parity.judge.gates import Gates, judge
from parity.plan.checks import Deployed, chain_sets, chosen, deployed, dims
from parity.plan.weights import Weights
from parity.run import stepping
from parity.run.runtime import Bucketed, Crosser, Runtime, RuntimeFailure, Session, fitting
from parity.verdict import UNBLAMED, Check, Finding, Mode, Verdict

COMPARING, OF_MEETINGS = ("numpy", "scipy", "librosa", "torch"), ("pyannote-metrics", "pyannote-core")
"""The libraries that compare and measure, besides those of a reference; the second are an extra."""


class Goldens(Protocol):
    """The source of the truth; see `parity.golden.store.GoldenStore`."""

    def load(self, case: Case) -> Golden: ...

    def identity(self, case: Case) -> str: ...


@dataclass(frozen=True)
class Workbench:
    """The means that the checks of one system on one runtime share.

    Attributes:
        system: The system.
        weights: Its checkpoint.
        goldens: Its recorded truth.
        artifacts: Builds and caches its artifacts.
        runtime: Runs them.
        gates: Judge the measurements.
        cache: Stores the evidence.
        compute_units: Where artifacts run, if not where they declare.
    """

    system: System
    weights: Weights
    goldens: Goldens
    artifacts: Artifacts
    runtime: Runtime
    gates: Gates
    cache: Cache
    compute_units: ComputeUnits | None = None
    _known: dict[Check, dict[str, Any]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _modules: dict[str, dict[str, str]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def deployed(self) -> Deployed:
        """The variants that ship and that the runtime runs."""
        found = deployed(self.system, self.runtime.format)
        if found is None:
            raise ValueError(
                f"{self.system.name} has nothing for {self.runtime.name}: declare in each stage a variant of the "
                f"format {self.runtime.format}, all of one name and none of them unchained"
            )
        return found

    def run(self, check: Check, ran: list[Comparison] | None = None) -> Verdict:
        """Return the verdict of a check. An artifact that can't be had, loaded or run fails as well.

        Args:
            check: The check.
            ran: Gets what was compared, unless the evidence of an earlier run was used.
        """
        with self.threads(check.mode):
            try:
                compared = [] if ran is None else ran
                make = examine if check.mode in UNBLAMED else measure
                found = evidence.gathered(
                    self.cache, self._rests_on(check), lambda folder: make(self, check, folder, compared)
                )
                findings = [*found.contract, *self.judged(check.stage, check.variant, found.values)]
                return replace(check.verdict(findings), seconds=found.seconds, evidence=found.key, reused=found.reused)
            except (ArtifactError, ConversionError, RuntimeFailure, ModelError, ValueError) as error:
                return check.verdict([Finding(check.stage, "runs", False, message=str(error))])

    def threads(self, mode: Mode) -> AbstractContextManager[None]:
        """Limit torch to one thread where a stage runs step by step, except at its largest sizes.

        Threads that wait for each other at every op of every step cost more than they give, most on a busy machine.
        """
        stepped = any(stage.stepped for stage in self.system.stages)
        return threads(1) if stepped and mode != "stretched" else nullcontext()

    def measured(self, check: Check) -> bool:
        """Return whether a check has evidence already, or can't have any."""
        try:
            return evidence.folder_of(self.cache, digest(self._rests_on(check))) is not None
        except (ArtifactError, ValueError):
            return True

    def _rests_on(self, check: Check) -> dict[str, Any]:
        """Return everything that decides the evidence of a check. A run wants it twice: before it builds, and after.

        Packages that somebody else builds may change meanwhile.
        """
        known = self._known.get(check)
        if known is None or isinstance(self.artifacts, Given):
            costly = self._costly(check.stage, check.variant)
            known = self._known[check] = {**self.parts(check), **({"asked": costly} if costly else {})}
        return known

    def asked(self, stage: str, variant: str) -> evidence.Asked:
        """Return a function that names the costly metrics in the gates of an output."""
        costly = self._costly(stage, variant)
        return lambda output: costly.get(self.system.family(stage, output), ())

    def _costly(self, stage: str, variant: str) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for gate in self.gates.gates:
            if (gate.stage, gate.variant) == (stage, variant) and metrics.find(gate.metric).on_request:
                found.setdefault(gate.output, []).append(gate.metric)
        return found

    def judged(self, stage: str, variant: str, measured: Mapping[str, Mapping[str, float]]) -> Iterator[Finding]:
        """Yield the findings of the gates on the metrics of each output."""
        for output, values in measured.items():
            table = stage, variant, self.system.family(stage, output)
            if gates := self.gates.tables.get(table):
                yield from (replace(found, output=output) for found in judge(gates, values))
            else:
                message = "no gate judges it: run `python -m parity calibrate`"
                yield Finding(output, "gated", False, message=message)
            if blind := self.gates.blind.get(table):
                yield Finding(output, "gated", False, message=blind)

    def parts(self, check: Check) -> dict[str, Any]:
        """Return everything that decides the evidence of a check, besides what its gates ask for."""
        system, weights = self.system, dict(self.weights.identity)
        parts: dict[str, Any] = {
            **(_examining() if check.mode in UNBLAMED else _measuring()),
            "libraries": self.libraries,
            "goldens": {case.name: self.goldens.identity(case) for case in chosen(system, check.case)},
            "scope": system.scope,
            "mode": check.mode,
            "sample rate": system.reference.sample_rate,
        }
        if check.mode == "exercised":
            inputs = {stage.name: [[*stage.inputs], dict(stage.fixed)] for stage in system.stages}
            parts |= {"glue": self.glue, "weights": weights, "inputs": inputs, "excused": exercise.excuses(system)}
            return parts
        if check.mode == "chained":
            chain = chain_sets(system)[check.variant].items()
            keys = {name: self.artifacts.key(system.stage(name), variant) for name, variant in chain}
            declared = [_listed(system.decisions), [*system.sums]]
            parts |= {"glue": self.glue, "weights": weights, "declared": declared, "artifacts": keys}
            return {**parts, "stages": [*map(_run, system.stages)], "runtime": self.engine}
        stage = system.stage(check.stage)
        parts["stage"] = _run(stage)
        if check.mode == "module":
            return {**parts, "module": self.code_of(stage), "weights": weights}
        variant, program = stage.variant(check.variant), self.runtime.format == "pte"
        parts |= {"artifacts": {stage.name: self.artifacts.key(stage, variant)}, "runtime": self.engine}
        if variant.replayed:
            parts["replay"] = {**code(stage.replay), **(versions("torchao") if program else {})}
        if check.mode in UNBLAMED:
            # The package of a bucket does not tell which sizes the stage is declared for.
            sizes = {name: repr(dim) for name, dim in dims(stage).items()}
            probed = {"sizes": sizes, "common": stage.common, "traced": dict(stage.trace_at)}
            probed |= {"quantized by": versions("torchao")} if program else {}
            made = {"module": self.code_of(stage), "resize": digest(code(stage.resize)), "weights": weights}
            return {**parts, **made, "probed": probed}
        if program or variant.group:
            parts |= {"module": self.code_of(stage), "contract": dict(system.contract)}
        return parts

    @cached_property
    def glue(self) -> str:
        return digest(code(self.system.chain, self.system.tables))

    def code_of(self, stage: Stage) -> dict[str, str]:
        if stage.name not in self._modules:
            self._modules[stage.name] = code(stage.module)
        return self._modules[stage.name]

    @cached_property
    def libraries(self) -> dict[str, str]:
        return versions(*COMPARING, *filter(installed, OF_MEETINGS), *self.system.reference.packages)

    @cached_property
    def engine(self) -> dict[str, Any]:
        engine = {
            "name": self.runtime.name,
            "numerics": self.runtime.numerics,
            "compute_units": self.compute_units or "declared",
            "coremltools": versions("coremltools"),
            **(versions("executorch") if self.runtime.format == "pte" else {}),
            **_runtimes(),
        }
        if self.runtime.name != "milrun":
            engine |= {"system": platform.platform(), "processor": platform.processor() or platform.machine()}
        return engine

    def tables(self, case: Case) -> Arrays:
        with threads(1):  # as goldens are recorded
            return self.system.tables(self.cut_from, case)

    def module(self, stage: Stage) -> Any:
        """Return the traceable module of a stage."""
        return convert.traceable(stage, self.cut_from)

    def answer(self, stage: Stage, variant: Variant) -> stepping.Answer:
        """Return what runs `Stage.replay`, its weights in the form of the variant."""
        assert stage.replay is not None
        whole = replace(stage, module=stage.replay, inputs={**stage.inputs, **stage.outputs})
        module = convert.traceable(whole, self.cut_from)
        module = quantized(module, whole, variant) if variant.format == "pte" else module

        def answered(inputs: Arrays, outputs: Arrays) -> Arrays:
            try:
                return convert.call(module, whole, {**inputs, **outputs})
            except (IndexError, RuntimeError) as error:
                said = f"{error}".splitlines()[0]
                raise ValueError(f"the module cannot go on from what the artifact gave: {said}") from error

        return answered

    @cached_property
    def cut_from(self) -> Any:
        return self.weights.model(self.system.reference.build)

    def execute(self, stage: Stage, variant: Variant, inputs: Arrays) -> dict[str, np.ndarray]:
        with closing(self.session(stage, variant)) as session:
            return Crosser(stage, variant, session)(inputs)

    def session(self, stage: Stage, variant: Variant) -> Session:
        if stage.buckets and stage.bucket is None:
            return Bucketed(stage, lambda one: self.session(one, variant))
        artifact = self.artifacts.get(stage, variant)
        method = stage.name if variant.format == "pte" else None
        return self.runtime.load(artifact.package, self.compute_units or stage.units(variant), method)


Runs = Callable[[Workbench, Check], Iterator[Comparison | Finding]]


@cache
def _examining() -> dict[str, str]:
    return {"measured by": digest(code(examine))}


@cache
def _measuring() -> dict[str, str]:
    """Return the code that compares and measures; metrics register themselves, so all count."""
    return {"measured by": digest(code(measure)), "metrics": tree(metrics)}


@cache
def _runtimes() -> dict[str, str]:
    return {"milrun": tree(milrun), "adapters": tree(run)}


def measure(bench: Workbench, check: Check, folder: Path, ran: list[Comparison]) -> None:
    """Run a check, measure what came out, and write the evidence into a folder.

    The key of the evidence holds the code that this function reaches. It does not hold what the methods of the bench
    do: how artifacts are built, and what the runtime does, have keys of their own.

    Args:
        bench: The workbench.
        check: The check.
        folder: The folder of the evidence.
        ran: Gets what was compared.
    """
    _write(bench, check, folder, ran, _compare)


def examine(bench: Workbench, check: Check, folder: Path, ran: list[Comparison]) -> None:
    """Run a check in one of the modes "probed", "stretched" and "exercised", as `measure` does others.

    They prove that nothing declared goes unexercised: values and sizes of inputs, and branches of the host code.
    """
    _write(bench, check, folder, ran, _exercise)


def _write(bench: Workbench, check: Check, folder: Path, ran: list[Comparison], run: Runs) -> None:
    started = time.perf_counter()
    found = list(run(bench, check))
    seconds = time.perf_counter() - started
    ran.extend(group for group in found if isinstance(group, Comparison))
    rate = bench.system.reference.sample_rate
    evidence.write(folder, found, rate, seconds, bench.asked(check.stage, check.variant))


def _compare(bench: Workbench, check: Check) -> Iterator[Comparison | Finding]:
    case = bench.system.reference.case(check.case)
    golden = bench.goldens.load(case)
    if check.mode == "chained":
        ways, tables = chain_sets(bench.system)[check.variant], bench.tables(case)
        yield from modes.chained(bench.session, bench.system, tables, ways, case, golden, bench.runtime.numerics)
        return
    stage = bench.system.stage(check.stage)
    seam = golden[stage.name]
    if check.mode == "module":
        module = convert.traceable(stage, bench.cut_from)
        yield from stage_outputs(stage, PLAIN, seam, lambda inputs: convert.call(module, stage, inputs))
        return
    variant = stage.variant(check.variant)
    if check.mode == "carried":
        yield from modes.carried(bench.session, stage, variant, seam, bench.runtime.numerics)
        return
    found = list(_contents(bench, fitting(stage, stepping.first(stage, seam)), variant))
    yield from found
    kept = all(finding.passed for finding in found if finding.output == package.INTERFACE)
    yield from modes.forced(bench.session, stage, variant, seam, bench.runtime.numerics, bench.answer, kept)


def _exercise(bench: Workbench, check: Check) -> Iterator[Comparison | Finding]:
    asked = chosen(bench.system, check.case)
    if check.mode == "exercised":
        goldens = [bench.goldens.load(case) for case in asked]
        yield from exercise.inputs(bench.system, goldens)
        tables = (bench.tables(case) for case in asked)
        yield from exercise.branches(bench.system, zip(asked, goldens, tables, strict=True), project().root)
        return
    stage, seam = bench.system.stage(check.stage), bench.goldens.load(asked[0])[check.stage]
    variant, plain = stage.variant(check.variant), bench.module(stage)
    module = quantized(plain, stage, variant) if variant.format == "pte" else plain
    with closing(bench.session(stage, variant)) as session:
        artifact = Crosser(stage, variant, session)
        runs = partial(convert.call, module, stage)
        rounded = partial(probes.rounded, module, stage) if module is plain else runs
        both = probes.Both(stage, variant, seam, artifact, runs, rounded)
        if variant.replayed:
            yield from probes.decided(both, bench.answer(stage, variant))
            return
        if module is not plain and check.mode == "probed":
            yield from probes.quantized(both, partial(convert.call, plain, stage))
        yield from probes.stretched(both) if check.mode == "stretched" else probes.findings(both)


def _contents(bench: Workbench, stage: Stage, variant: Variant) -> Iterator[Finding]:
    """Yield the findings of the gates on what an artifact holds."""
    path, module = bench.artifacts.get(stage, variant).package, partial(bench.module, stage)
    if describe := getattr(bench.runtime, "describe", None):  # ExecuTorch describes its programs
        facts = facts_of(bench.system, stage, variant, bench.weights.identity)
        yield from program.findings(describe(path), stage, variant, bench.system.contract, facts, module)
    else:
        whole = bench.system.stage(stage.name)
        siblings = [whole.at(bucket) for bucket in whole.buckets]
        parts = pieces(bench.system, bench.artifacts, stage, variant)
        yield from package.findings(path, stage, variant, parts, siblings, module)


def _run(stage: Stage) -> dict[str, Any]:
    """Return what decides how a stage is run and its outputs compared. A module takes and gives tensors in order."""
    return {
        "name": stage.name,
        "inputs": _listed(stage.inputs),
        "outputs": _listed(stage.outputs),
        "derived": _listed(stage.derived),
        "derive": code(stage.derive),
        "carries": dict(stage.carries),
        "stepped": stage.stepped,
    }


def _listed(declared: Mapping[str, Tensor]) -> list[list[str]]:
    return [[name, repr(tensor)] for name, tensor in declared.items()]
