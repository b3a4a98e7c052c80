"""How a check is made: the traceable module against upstream, an artifact on golden inputs, the chain as it ships."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from milrun import ModelError
from parity import run
from parity.base.cache import Cache
from parity.base.fingerprint import code, digest, libraries, tree
from parity.base.torch_threads import threads
from parity.blame.explain import blame
from parity.build import convert
from parity.build.artifacts import ArtifactError, Artifacts, pieces
from parity.build.convert import ConversionError
from parity.compare import evidence, metrics
from parity.compare.evidence import Comparison
from parity.compare.outputs import PLAIN, compared, crossings, decisions, given
from parity.declarations import HOST, Arrays, Case, ComputeUnits, Golden, Seam, Stage, System, Tensor, Variant
from parity.judge import package
from parity.judge.gates import Gates, judge
from parity.plan.checks import chain_sets, users
from parity.plan.weights import Weights
from parity.run import Runtime, RuntimeFailure, Session
from parity.run.chain import Chain, Free, Rehearsal
from parity.run.stage import Crosser, cast, closing, repeated
from parity.verdict import Check, Finding, Verdict


class Goldens(Protocol):
    """The source of the truth; see `parity.golden.store.GoldenStore`."""

    def load(self, case: Case) -> Golden: ...

    def identity(self, case: Case) -> str: ...


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
        found = evidence.gathered(self.cache, parts, lambda folder: measure(self, check, folder))
        findings = [*found.contract, *self.judged(check.stage, check.variant, found.values)]
        return replace(check.verdict(findings), seconds=found.seconds, evidence=found.key, reused=found.reused)

    def judged(self, stage: str, variant: str, measured: Mapping[str, Mapping[str, float]]) -> Iterator[Finding]:
        """What the gates say of the metrics of each output."""
        for output, values in measured.items():
            table = stage, variant, self.system.family(stage, output)
            if gates := self.gates.of(*table):
                yield from (replace(found, output=output) for found in judge(gates, values))
            else:
                yield _ungated(output)
            if blind := self.gates.blind.get(table):
                yield Finding(output, "gated", False, message=blind)

    def parts(self, check: Check) -> dict[str, Any]:
        case = self.system.reference.case(check.case)
        parts = {
            **self._common,
            "golden": self.goldens.identity(case),
            "scope": self.system.scope,
            "mode": check.mode,
        }
        if check.mode == "module":
            stage = self.system.stage(check.stage)
            parts["declared"] = _told({**stage.outputs, **stage.derived})
            return {**parts, "module": code(stage.module), "weights": dict(self.weights.identity)}
        if check.mode == "chained":
            chosen = chain_sets(self.system)[check.variant]
            parts["glue"] = digest(code(self.system.chain, self.system.tables))
            parts["weights"] = dict(self.weights.identity)
            parts["declared"] = {**_told(self.system.decisions), "sums": ", ".join(self.system.sums)}
        else:
            stage = self.system.stage(check.stage)
            parts["declared"] = _told(stage.derived)
            chosen = {stage.name: stage.variant(check.variant)}
        keys = {name: self.artifacts.key(self.system.stage(name), variant) for name, variant in chosen.items()}
        return {**parts, "artifacts": keys, "runtime": self._engine}

    @cached_property
    def _common(self) -> dict[str, Any]:
        versions = ("numpy", "scipy", "torch", "pyannote-metrics", "pyannote-core", *self.system.reference.packages)
        return {**_harness(), "libraries": libraries(*versions)}

    @cached_property
    def _engine(self) -> dict[str, Any]:
        engine = {
            "name": self.runtime.name,
            "numerics": self.runtime.numerics,
            "compute_units": self.compute_units or "declared",
            "coremltools": libraries("coremltools"),
            **_runtimes(),
        }
        machine = {"system": platform.platform(), "processor": platform.processor() or platform.machine()}
        return engine if self.runtime.name == "milrun" else {**engine, **machine}

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


@cache
def _harness() -> dict[str, str]:
    """Return the code that compares and measures; metrics and checks of packages register themselves, so all count."""
    return {"measured by": digest(code(measure)), "metrics": tree(metrics), "structure": tree(package)}


@cache
def _runtimes() -> dict[str, str]:
    import milrun

    return {"milrun": tree(milrun), "adapters": tree(run)}


def measure(bench: Workbench, check: Check, folder: Path) -> None:
    """Compare what a check is about with the golden, and write the evidence into the folder.

    The key of the evidence holds the code that this function reaches. It does not hold what the methods of the bench
    do: how artifacts are built, and what the runtime does, have keys of their own.
    """
    started = time.perf_counter()
    found = list(_compare(bench, check))
    evidence.write(folder, found, bench.system.reference.sample_rate, time.perf_counter() - started)


def _compare(bench: Workbench, check: Check) -> Iterator[Comparison | Finding]:
    case = bench.system.reference.case(check.case)
    golden = bench.goldens.load(case)
    if check.mode == "chained":
        yield from _chained(bench, check, case, golden)
        return
    stage = bench.system.stage(check.stage)
    seam = golden[stage.name]
    if check.mode == "module":
        module = convert.traceable(stage, bench.cut_from)
        yield from compared(stage, PLAIN, seam, lambda given: convert.call(module, stage, given))
        return
    variant = stage.variant(check.variant)
    if check.mode == "forced":
        parts = pieces(bench.system, bench.artifacts, stage, variant)
        found = list(package.findings(bench.artifacts.get(stage, variant).package, stage, variant, parts))
        yield from found
        if not all(finding.passed for finding in found if finding.output == package.INTERFACE):
            yield from _tried(bench, stage, variant, seam)
            return
    with closing(bench.session(stage, variant)) as session:
        cross = Crosser(stage, variant, session)
        expected = given(stage, variant, bench.runtime.numerics)
        yield from compared(stage, variant, seam, cross, expected, own=check.mode == "carried")
        if check.mode == "carried":
            with closing(bench.session(stage, variant)) as fresh:
                yield from repeated(stage, seam, cross, Crosser(stage, variant, fresh))


def _tried(bench: Workbench, stage: Stage, variant: Variant, seam: Seam) -> Iterator[Comparison | Finding]:
    """Compare what an artifact gives that takes or gives other things than declared, if it runs at all."""
    expected = given(stage, variant, bench.runtime.numerics)
    try:
        with closing(bench.session(stage, variant)) as session:
            yield from list(compared(stage, variant, seam, Crosser(stage, variant, session), expected))
    except (RuntimeFailure, ModelError, ValueError) as error:
        yield Finding(stage.name, "runs", False, message=str(error))


def _chained(bench: Workbench, check: Check, case: Case, golden: Golden) -> Iterator[Comparison | Finding]:
    chosen, tables = chain_sets(bench.system)[check.variant], bench.tables(case)
    rehearsal = Rehearsal(bench.system, golden, tables)
    try:
        bench.system.chain(rehearsal, case)
    except ValueError as error:
        yield from rehearsal.findings()
        yield Finding(HOST, "runs", False, message=f"the glue gives up on upstream's own values: {error}")
        return
    yield from rehearsal.findings()
    given_out = users(bench.system)
    with ExitStack() as stack:
        loaded: dict[str, Crosser] = {}

        def execute(name: str, inputs: Arrays) -> dict[str, np.ndarray]:
            if name not in loaded:
                stage = bench.system.stage(name)
                session = stack.enter_context(closing(bench.session(stage, chosen[name])))
                loaded[name] = Crosser(stage, chosen[name], session)
            return loaded[name](inputs)

        def told(name: str, inputs: Arrays) -> Arrays:
            return cast(bench.system.stage(name), chosen[name], inputs)

        run = Chain(bench.system, golden, tables, execute, told)
        bench.system.chain(run, case)
        free = Free(bench.system, tables, execute, told)
        if given_out:
            bench.system.chain(free, case)
    yield from crossings(bench.system, run, chosen, bench.runtime.numerics)
    if given_out:
        yield decisions(free.own, golden, given_out)


def _told(declared: Mapping[str, Tensor]) -> dict[str, str]:
    """What decides which metrics compare the values."""
    return {name: repr(tensor) for name, tensor in declared.items()}


def _ungated(output: str) -> Finding:
    return Finding(output, "gated", False, message="no gate judges it: run `python -m parity calibrate`")
