"""Asks, of a failed verdict, where the error begins: gathers what `parity.blame` needs for each kind of check."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from parity.base import lockfile
from parity.blame import blame_artifact, blame_module, blame_unheard, first_step
from parity.build import convert
from parity.build.artifacts import composed
from parity.declarations import HOST, Case, Reference, Stage, Variant
from parity.judge import package
from parity.run.stage import Crosser, cast, closing
from parity.verdict import Blame, Check, Finding, Verdict

if TYPE_CHECKING:
    from parity.judge.workbench import Workbench

CARRIED, CHAINED = "carried", "chained"


def blame(bench: Workbench, check: Check, verdict: Verdict) -> Blame:
    """Return the blame for a failure. It never raises, so that the failure itself is always reported."""
    stage = first_failing(bench, check, verdict)
    own = [finding for finding in verdict.failures if finding.output.split(".")[0] == stage or check.mode != CHAINED]
    failures = own or list(verdict.failures)
    outputs = list(dict.fromkeys(finding.output.removeprefix(f"{stage}.") for finding in failures))
    try:
        made = next((finding for finding in failures if finding.gate in package.GATES), None)
        if made:  # what it computes follows from what it is made of
            return Blame(stage, made.output, "another package than declared", detail=made.message)
        if any(finding.gate == "runs" for finding in failures):
            return Blame(stage, "", "a failure to run", detail=failures[0].message.splitlines()[0])
        if check.mode == CHAINED:
            return _chained(bench, check, stage, outputs, [finding for finding in failures if finding.gate == "glue"])
        return _module(bench, check, outputs) if check.mode == "module" else _forced(bench, check, outputs)
    except Exception as error:
        return Blame(stage, outputs[0] if outputs else "", "unknown", detail=f"no blame could be found: {error}")


def first_failing(bench: Workbench, check: Check, verdict: Verdict) -> str:
    """Return the stage to blame: the check's own, or in a chain the first that failed, in the order of the data."""
    if check.mode != CHAINED:
        return check.stage
    glue = next((finding.output for finding in verdict.failures if finding.gate == "glue"), "")
    if glue:  # the glue's faults come in the order in which the host made them
        return glue.split(".", 1)[0]
    failing = {finding.output.split(".", 1)[0] for finding in verdict.failures}
    order = [*(stage.name for stage in bench.system.stages), HOST]
    return next((name for name in order if name in failing), check.stage)


def _module(bench: Workbench, check: Check, outputs: list[str]) -> Blame:
    reference = bench.system.reference
    case, stage = reference.case(check.case), bench.system.stage(check.stage)
    module = bench.module(stage)
    golden = bench.goldens.load(case)[stage.name]
    found = first_step.find(stage, golden, lambda inputs: convert.call(module, stage, inputs), dict, outputs)
    if absent := lockfile.absent(reference.extra, reference.packages):
        why = (
            f"which layer it begins in can be told where {', '.join(absent)} is installed: make extra-{reference.extra}"
        )
        return found.placed(blame_unheard(stage, module, found.reference, found.candidate, found.outputs, why))
    upstream = reference.build(bench.weights.checkpoint())
    blamed = blame_module(
        stage,
        module,
        bench.cut_from,
        reference.layers(upstream),
        lambda: _record(reference, upstream, case, (stage.name, f"{bench.system.scope}.{stage.name}")),
        found.inputs,
        found.reference,
        found.candidate,
        found.outputs,
    )
    return found.placed(blamed)


def _record(reference: Reference, upstream: Any, case: Case, seams: Collection[str]) -> None:
    """Record up to the wanted seam; later stages make no call that counts."""
    for seam in reference.record(upstream, case):
        if seam.stage in seams:
            return


def _forced(bench: Workbench, check: Check, outputs: list[str]) -> Blame:
    stage = bench.system.stage(check.stage)
    variant = stage.variant(check.variant)
    if stage.parts:
        return _parts(bench, check, stage, variant)
    golden = bench.goldens.load(bench.system.reference.case(check.case))[stage.name]
    with closing(bench.session(stage, variant)) as session:
        cross = Crosser(stage, variant, session)
        found = first_step.find(stage, golden, cross, lambda inputs: cast(stage, variant, inputs), outputs)
    if not found.wrong and check.mode == CARRIED:
        detail = "each step is right on what upstream carried to it: what the artifact itself carries has drifted"
        return Blame(stage.name, outputs[0] if outputs else "", "drift", detail=detail)
    blamed = blame_artifact(
        stage,
        variant,
        bench.artifacts.get(stage, variant).package,
        bench.module(stage),
        found.inputs,
        found.reference,
        found.candidate,
        found.outputs,
        bench.runtime.numerics,
    )
    return found.placed(blamed)


def _parts(bench: Workbench, check: Check, stage: Stage, variant: Variant) -> Blame:
    """Look for the failing part of a pipeline."""
    for part, own in composed(bench.system, stage, variant):
        found = bench.run(replace(check, stage=part.name, variant=own.name))
        if found.blame:
            return found.blame
    return Blame(stage.name, "", "drift", detail="each part is within its bounds on upstream's inputs: it adds up")


def _chained(bench: Workbench, check: Check, stage: str, outputs: list[str], glue: list[Finding]) -> Blame:
    from parity.plan.checks import chain_sets

    output = outputs[0] if outputs else ""
    if glue:
        name = glue[0].output.removeprefix(f"{stage}.")
        return Blame(stage, name, "another value", detail=f"in the host glue, before the stage runs: {glue[0].message}")
    if stage not in {known.name for known in bench.system.stages}:
        detail = "every stage is within its bounds, and what they add up to makes the host decide otherwise"
        return Blame(stage, output, "drift", detail=detail)
    variant = chain_sets(bench.system)[check.variant][stage]
    own = bench.run(replace(check, stage=stage, variant=variant.name, mode="forced"))
    if own.blame:
        return own.blame
    detail = f"{stage} is right on upstream's inputs: what the stages and the glue before it hand on has drifted"
    return Blame(stage, output, "drift", detail=detail)
