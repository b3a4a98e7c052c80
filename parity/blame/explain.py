"""The verdict of a check with its blame: gathers what the searches need for each mode of a check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from parity.base import libraries
from parity.blame import failure
from parity.blame.failure import Failure
from parity.blame.module.search import Rewrite, blame_module, blame_unheard
from parity.blame.package.runs import Runs
from parity.blame.package.search import blame_method, blame_package
from parity.build import convert
from parity.build.artifacts import Built, composed, uncompressed
from parity.compare.modes import Comparison
from parity.declarations import HOST, Seam, Stage, Variant
from parity.judge import package
from parity.judge.workbench import Workbench
from parity.plan.checks import MODULE, chain_sets
from parity.run import stepping
from parity.run.chain import difference
from parity.run.runtime import Crosser, cast
from parity.verdict import UNBLAMED, Blame, Check, Finding, Verdict

CONTRACT = ("runs", "shape", "dtype", "present", "declared")
"""Gates that break where a module gives something else than its stage declares."""


def explained(bench: Workbench, check: Check) -> Verdict:
    """Run a check, and return its verdict, with its blame if it failed.

    A check that fails only for want of gates has no blame: nothing is known to be wrong. An error of the search itself
    is logged and named in the blame, and never raised: the failure has to be reported.

    Args:
        bench: The workbench of the system.
        check: The check.
    """
    ran: list[Comparison] = []
    verdict = bench.run(check, ran)
    failures = [finding for finding in verdict.failures if finding.gate != "gated"]
    if check.mode in UNBLAMED or not failures:
        return verdict
    stage = check.stage
    if check.mode == "chained":
        stage = _first_failing(bench, check, failures)
        failures = [finding for finding in failures if finding.output.split(".")[0] == stage] or failures
    outputs = list(dict.fromkeys(finding.output.removeprefix(f"{stage}.") for finding in failures))
    bounds = {one.output: one.bound.limit for one in verdict.findings if one.bound and one.gate == "relative_l2"}
    try:
        with bench.threads(check.mode):
            blame = Search(bench, check, stage, ran, bounds).blame(failures, outputs)
    except Exception as error:
        blame = failure.unable(stage, outputs[0], error)
    return replace(verdict, blame=blame)


def _first_failing(bench: Workbench, check: Check, wrong: Sequence[Finding]) -> str:
    """Return the stage of a chain to blame: the first, in the order of the data, that failed."""
    glue = next((finding.output for finding in wrong if finding.gate == "glue"), "")
    if glue:  # the glue's faults come in the order in which the host made them
        return glue.split(".", 1)[0]
    failing = {finding.output.split(".", 1)[0] for finding in wrong}
    order = [*(stage.name for stage in bench.system.stages), HOST]
    return next((name for name in order if name in failing), check.stage)


@dataclass(frozen=True)
class Search:
    """The search for the cause of the failure of a check.

    Attributes:
        bench: The workbench of the system.
        check: The check.
        name: The stage to blame.
        ran: What the check compared.
        bounds: The relative L2 that gates allow, by output.
    """

    bench: Workbench
    check: Check
    name: str
    ran: Sequence[Comparison]
    bounds: Mapping[str, float]

    def blame(self, failures: Sequence[Finding], outputs: Sequence[str]) -> Blame:
        if made := next((finding for finding in failures if finding.gate in package.GATES), None):
            # What it computes follows from what it is made of.
            broken = [finding.output for finding in failures if finding.gate == "relative_l2"]
            return (self._compressed(made, broken) if broken else None) or self._made_otherwise(made)
        if stopped := next((finding for finding in failures if finding.gate == "runs"), None):
            said = stopped.message.partition("\n")[0]
            misshapen = self._misshapen(said) if self.check.mode == "module" else None
            return misshapen or Blame(self.name, "", "a failure to run", detail=said)
        if self.check.mode == "chained":
            return self._chained(outputs, [finding for finding in failures if finding.gate == "glue"])
        return self._module(outputs) if self.check.mode == "module" else self._artifact(outputs)

    @cached_property
    def stage(self) -> Stage:
        return self.bench.system.stage(self.check.stage)

    @cached_property
    def golden(self) -> Seam:
        return self.bench.goldens.load(self.bench.system.reference.case(self.check.case))[self.stage.name]

    @property
    def of_module(self) -> Check:
        """The check of the module that the package was made from."""
        return replace(self.check, stage=self.name, variant=MODULE, mode="module", runtime="torch", numerics="fp32")

    def _made_otherwise(self, made: Finding) -> Blame:
        """Blame a package for what it is made of, or its module where that gives something else than declared."""
        if made.gate == package.MANIFEST:
            verdict = explained(self.bench, self.of_module)
            own = verdict.blame if any(finding.gate in CONTRACT for finding in verdict.failures) else None
            if own and own.source:
                return replace(own, detail=f"{own.detail}; the package has it from the module: {made.message}")
        return Blame(self.name, made.output, "another package than declared", detail=made.message)

    def _compressed(self, made: Finding, outputs: Sequence[str]) -> Blame | None:
        """Blame the line of the weight that costs most, where a package is compressed otherwise than declared."""
        if made.gate != package.COMPRESSION or self.check.mode not in ("forced", "carried"):
            return None
        if self.stage.parts or self.stage.variant(self.check.variant).format == "pte":
            return None
        own = self._artifact(outputs)
        return replace(own, detail=f"{made.message}; {own.detail}") if own.fault == "weights" else None

    def _misshapen(self, said: str) -> Blame | None:
        """Blame the statement at which a traceable module makes an output of another shape than declared, if any."""
        stage, module = self.stage, self.bench.module(self.stage)
        inputs, sizes = stepping.first(stage, self.golden), dict[str, int]()
        try:
            given = convert.call(module, stage, inputs)
        except Exception:  # that is the failure to run
            return None
        for name, tensor in {**stage.inputs, **stage.outputs}.items():
            value = given[name] if name in stage.outputs else inputs[name]
            if tensor.bind(value.shape, sizes) and name in stage.outputs:
                found = Failure(stage=stage, inputs=inputs, reference={}, candidate=given, outputs=[name])
                return replace(blame_unheard(found, module, said), detail=said)
        return None

    def _module(self, outputs: Sequence[str]) -> Blame:
        bench, stage, reference = self.bench, self.stage, self.bench.system.reference
        module = bench.module(stage)
        cross = partial(convert.call, module, stage)
        found = self._just_ran(outputs) or failure.find(stage, self.golden, cross, dict, outputs, self.bounds)
        if absent := libraries.absent(reference.extra, reference.packages):
            where = f"{', '.join(absent)} is installed: make extra-{reference.extra}"
            why = f"which layer it begins in can be told where {where}"
            return found.searched(lambda: blame_unheard(found, module, why))
        upstream = reference.build(bench.weights.checkpoint())

        def record() -> None:  # up to the wanted seam: what comes behind it makes no call that counts
            for seam in reference.record(upstream, reference.case(self.check.case)):
                if seam.stage in (stage.name, f"{bench.system.scope}.{stage.name}"):
                    return

        rewrite = Rewrite(found, module, bench.cut_from, reference.layers(upstream), record)
        return found.searched(lambda: blame_module(rewrite))

    def _artifact(self, outputs: Sequence[str]) -> Blame:
        bench, stage = self.bench, self.stage
        variant = stage.variant(self.check.variant)
        if stage.parts:
            return self._parts(stage, variant)
        if not (found := self._just_ran(outputs)):
            take, truth = partial(cast, stage, variant), self.golden
            with closing(bench.session(stage, variant)) as session:
                cross = Crosser(stage, variant, session)
                if variant.replayed:
                    truth = stepping.replayed(stage, truth, cross, bench.answer(stage, variant))
                found = failure.find(stage, truth, cross, take, outputs, self.bounds)
        if not found.wrong and self.check.mode == "carried":
            detail = "each step is right on what upstream carried to it: what the artifact itself carries has drifted"
            return Blame(stage.name, outputs[0], "drift", detail=detail)
        return found.searched(lambda: self._crossing(found, variant))

    def _crossing(self, found: Failure, variant: Variant) -> Blame:
        """Blame one crossing of an artifact."""
        bench, stage, module = self.bench, found.stage, self.bench.module(found.stage)
        if variant.format == "pte":
            by_module = found.reference
            if not variant.replayed:
                by_module = convert.call(module, stage, cast(stage, variant, found.inputs))
            return blame_method(found, by_module)
        if stage.buckets:
            if leaking := failure.leaking(found, module):
                return leaking
            found = failure.in_bucket(found, module, lambda one, inputs: bench.execute(one, variant, inputs))
            stage = found.stage
        own = Built(bench.system, bench.weights, bench.cache)
        return blame_package(
            Runs(
                failure=found,
                variant=variant,
                package=bench.artifacts.get(stage, variant).package,
                uncompressed=lambda: own.get(stage, uncompressed(stage, variant)).package,
                module=module,
                module_holds=lambda: bench.run(self.of_module).passed,
                numerics=bench.runtime.numerics,
            )
        )

    def _just_ran(self, outputs: Sequence[str]) -> Failure | None:
        """Return the crossing that the check itself made; None if it made many, or used evidence of an earlier run."""
        if self.stage.stepped or not self.ran:
            return None
        (one, *_), inputs = self.ran, self.golden.inputs
        return Failure(stage=self.stage, inputs=inputs, reference=one.reference, candidate=one.actual, outputs=outputs)

    def _parts(self, stage: Stage, variant: Variant) -> Blame:
        """Blame the first part of a pipeline that fails by itself."""
        for part, own in composed(self.bench.system, stage, variant):
            found = explained(self.bench, replace(self.check, stage=part.name, variant=own.name))
            if found.blame:
                return found.blame
        return Blame(stage.name, "", "drift", detail="each part is within its bounds on upstream's inputs: it adds up")

    def _chained(self, outputs: Sequence[str], glue: Sequence[Finding]) -> Blame:
        system, stage = self.bench.system, self.name
        if glue:
            name = glue[0].output.removeprefix(f"{stage}.")
            looks_like = "an early end" if name == "steps" else "another value"
            return Blame(stage, name, looks_like, detail=f"in the host glue, before the stage runs: {glue[0].message}")
        if stage not in {known.name for known in system.stages}:
            detail = "every stage is within its bounds, and what they add up to makes the host decide otherwise"
        else:
            variant = chain_sets(system)[self.check.variant][stage]
            own = explained(self.bench, replace(self.check, stage=stage, variant=variant.name, mode="forced"))
            if own.blame:
                return own.blame
            before = "what the stages and the glue before it hand on has drifted"
            detail = f"{stage} is right on upstream's inputs: {before}"
        decisions = [  # beside upstream's, where whole numbers differ
            f"`{name}` is {difference(group.actual[name], group.reference[name])}"
            for group in self.ran
            if group.prefix == f"{stage}."
            for name in outputs
            if name in group.actual and name in group.reference
            if group.reference[name].dtype.kind in "iu" and group.declared[name].kind != "kept"
            if not np.array_equal(group.actual[name], group.reference[name])
        ]
        return Blame(stage, outputs[0], "drift", detail="; ".join([detail, *decisions]))
