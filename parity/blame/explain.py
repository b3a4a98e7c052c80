"""The verdict of a check with its blame: gathers what the searches need for each mode of a check."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from parity.base import lockfile
from parity.blame import first_step, leak
from parity.blame.first_step import Failing
from parity.blame.module.search import blame_module, blame_unheard
from parity.blame.package.search import blame_artifact
from parity.blame.program import blame_method
from parity.blame.wording import unable
from parity.build import convert
from parity.build.artifacts import Built, composed, uncompressed
from parity.compare.outputs import Comparison
from parity.declarations import HOST, Case, Reference, Seam, Stage, Variant
from parity.judge import package
from parity.judge.workbench import Workbench
from parity.plan.checks import MODULE, chain_sets
from parity.run import stepping
from parity.run.difference import difference
from parity.run.runtime import Crosser, cast, closing, filled, fitting
from parity.verdict import UNBLAMED, Blame, Check, Finding, Verdict

CARRIED, CHAINED = "carried", "chained"
RELATIVE_L2 = "relative_l2"
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
    wrong = [finding for finding in verdict.failures if finding.gate != "gated"]
    if check.mode in UNBLAMED or not wrong:
        return verdict
    stage = _first_failing(bench, check, wrong)
    own = [finding for finding in wrong if finding.output.split(".")[0] == stage or check.mode != CHAINED]
    failures = own or wrong
    outputs = list(dict.fromkeys(finding.output.removeprefix(f"{stage}.") for finding in failures))
    try:
        with bench.threads():
            blame = _blame(bench, check, stage, failures, outputs, ran, _bounds(verdict))
    except Exception as error:
        blame = unable(stage, outputs[0] if outputs else "", error)
    return replace(verdict, blame=blame)


def _blame(
    bench: Workbench,
    check: Check,
    stage: str,
    failures: Sequence[Finding],
    outputs: Sequence[str],
    ran: Sequence[Comparison],
    bounds: Mapping[str, float],
) -> Blame:
    made = next((finding for finding in failures if finding.gate in package.GATES), None)
    if made:  # what it computes follows from what it is made of
        blame = _made_otherwise(bench, check, stage, made)
        broken = [finding.output for finding in failures if finding.gate == RELATIVE_L2]
        return _compressed(bench, check, made, broken, ran, bounds) or blame if broken else blame
    if any(finding.gate == "runs" for finding in failures):
        said = failures[0].message.splitlines()[0]
        misshapen = _misshapen(bench, check, said) if check.mode == "module" else None
        return misshapen or Blame(stage, "", "a failure to run", detail=said)
    if check.mode == CHAINED:
        return _chained(bench, check, stage, outputs, [finding for finding in failures if finding.gate == "glue"], ran)
    return (_module if check.mode == "module" else _artifact)(bench, check, outputs, ran, bounds)


def _made_otherwise(bench: Workbench, check: Check, stage: str, made: Finding) -> Blame:
    """Blame a package for what it is made of, or its module where that gives something else than declared already."""
    blame = Blame(stage, made.output, "another package than declared", detail=made.message)
    if made.gate != package.MANIFEST:
        return blame
    of_module = replace(check, stage=stage, variant=MODULE, mode="module", runtime="torch", numerics="fp32")
    verdict = explained(bench, of_module)
    own = verdict.blame if any(finding.gate in CONTRACT for finding in verdict.failures) else None
    if own is None or not own.source:
        return blame
    return replace(own, detail=f"{own.detail}; the package has it from the module: {made.message}")


def _compressed(
    bench: Workbench,
    check: Check,
    made: Finding,
    outputs: Sequence[str],
    ran: Sequence[Comparison],
    bounds: Mapping[str, float],
) -> Blame | None:
    """Blame the line of the weight that costs most, where a package is compressed otherwise than declared."""
    stage = bench.system.stage(check.stage)
    if made.gate != package.COMPRESSION or check.mode not in ("forced", CARRIED):
        return None
    if stage.parts or stage.variant(check.variant).format == "pte":
        return None
    own = _artifact(bench, check, outputs, ran, bounds)
    return replace(own, detail=f"{made.message}; {own.detail}") if own.fault == "weights" else None


def _misshapen(bench: Workbench, check: Check, said: str) -> Blame | None:
    """Blame the statement at which a traceable module makes an output of another shape than declared, if it does."""
    stage, module = bench.system.stage(check.stage), bench.module(bench.system.stage(check.stage))
    golden = bench.goldens.load(bench.system.reference.case(check.case))[stage.name]
    inputs, sizes = stepping.first(stage, golden), dict[str, int]()
    try:
        given = convert.call(module, stage, inputs)
    except Exception:  # that is the failure to run
        return None
    for name, tensor in {**stage.inputs, **stage.outputs}.items():
        value = given[name] if name in stage.outputs else inputs[name]
        if tensor.bind(value.shape, sizes) and name in stage.outputs:
            return replace(blame_unheard(stage, module, inputs, {}, given, [name], said), detail=said)
    return None


def _bounds(verdict: Verdict) -> dict[str, float]:
    """Return the relative L2 that gates allow, by output."""
    return {found.output: found.bound.limit for found in verdict.findings if found.bound and found.gate == RELATIVE_L2}


def _first_failing(bench: Workbench, check: Check, wrong: Sequence[Finding]) -> str:
    """Return the stage to blame: the check's own, or in a chain the first, in the order of the data, that failed."""
    if check.mode != CHAINED:
        return check.stage
    glue = next((finding.output for finding in wrong if finding.gate == "glue"), "")
    if glue:  # the glue's faults come in the order in which the host made them
        return glue.split(".", 1)[0]
    failing = {finding.output.split(".", 1)[0] for finding in wrong}
    order = [*(stage.name for stage in bench.system.stages), HOST]
    return next((name for name in order if name in failing), check.stage)


def _module(
    bench: Workbench, check: Check, outputs: Sequence[str], ran: Sequence[Comparison], bounds: Mapping[str, float]
) -> Blame:
    reference = bench.system.reference
    case, stage = reference.case(check.case), bench.system.stage(check.stage)
    module, golden = bench.module(stage), bench.goldens.load(case)[stage.name]
    found = _just_ran(stage, golden, ran, outputs) or first_step.find(
        stage, golden, lambda inputs: convert.call(module, stage, inputs), dict, outputs, bounds
    )
    if absent := lockfile.absent(reference.extra, reference.packages):
        why = (
            f"which layer it begins in can be told where {', '.join(absent)} is installed: make extra-{reference.extra}"
        )
        of_module = blame_unheard(stage, module, found.inputs, found.reference, found.candidate, found.outputs, why)
        return found.placed(of_module)
    upstream = reference.build(bench.weights.checkpoint())
    blamed = blame_module(
        stage=stage,
        module=module,
        cut_from=bench.cut_from,
        upstream=reference.layers(upstream),
        record=lambda: _record(reference, upstream, case, (stage.name, f"{bench.system.scope}.{stage.name}")),
        inputs=found.inputs,
        reference=found.reference,
        candidate=found.candidate,
        outputs=found.outputs,
    )
    return found.placed(blamed)


def _record(reference: Reference, upstream: Any, case: Case, seams: Collection[str]) -> None:
    """Record up to the wanted seam: what comes behind it makes no call that counts."""
    for seam in reference.record(upstream, case):
        if seam.stage in seams:
            return


def _artifact(
    bench: Workbench, check: Check, outputs: Sequence[str], ran: Sequence[Comparison], bounds: Mapping[str, float]
) -> Blame:
    stage = bench.system.stage(check.stage)
    variant = stage.variant(check.variant)
    if stage.parts:
        return _parts(bench, check, stage, variant)
    golden = bench.goldens.load(bench.system.reference.case(check.case))[stage.name]
    if not (found := _just_ran(stage, golden, ran, outputs)):
        with closing(bench.session(stage, variant)) as session:
            cross = Crosser(stage, variant, session)
            found = first_step.find(stage, golden, cross, lambda inputs: cast(stage, variant, inputs), outputs, bounds)
    if not found.wrong and check.mode == CARRIED:
        detail = "each step is right on what upstream carried to it: what the artifact itself carries has drifted"
        return Blame(stage.name, outputs[0] if outputs else "", "drift", detail=detail)
    if variant.format == "pte":
        module = bench.module(stage)
        given = cast(stage, variant, found.inputs)
        return found.placed(blame_method(stage, convert.call(module, stage, given), found))
    own = Built(bench.system, bench.weights, bench.cache)
    of_module = replace(check, variant=MODULE, mode="module", runtime="torch", numerics="fp32")
    module = bench.module(stage)
    if stage.buckets:
        if leaking := leak.blamed(stage, module, found):
            return found.placed(leaking)
        one = fitting(stage, found.inputs)
        given = cast(one, variant, filled(stage, found.inputs, one.bucket or 0))
        stage, found = leak.within(stage, module, found, bench.execute(one, variant, given))
    blamed = blame_artifact(
        stage=stage,
        variant=variant,
        package=bench.artifacts.get(stage, variant).package,
        uncompressed=lambda: own.get(stage, uncompressed(stage, variant)).package,
        module=module,
        module_holds=lambda: bench.run(of_module).passed,
        inputs=found.inputs,
        reference=found.reference,
        candidate=found.candidate,
        outputs=found.outputs,
        numerics=bench.runtime.numerics,
    )
    return found.placed(blamed)


def _just_ran(stage: Stage, golden: Seam, ran: Sequence[Comparison], outputs: Sequence[str]) -> Failing | None:
    """Return the crossing that the check itself made; None if it made many, or its evidence is of an earlier run."""
    if stage.stepped or not ran:
        return None
    return Failing(inputs=golden.inputs, reference=golden.outputs, candidate=ran[0].actual, outputs=outputs)


def _parts(bench: Workbench, check: Check, stage: Stage, variant: Variant) -> Blame:
    """Blame the first part of a pipeline that fails by itself."""
    for part, own in composed(bench.system, stage, variant):
        found = explained(bench, replace(check, stage=part.name, variant=own.name))
        if found.blame:
            return found.blame
    return Blame(stage.name, "", "drift", detail="each part is within its bounds on upstream's inputs: it adds up")


def _chained(
    bench: Workbench,
    check: Check,
    stage: str,
    outputs: Sequence[str],
    glue: Sequence[Finding],
    ran: Sequence[Comparison],
) -> Blame:
    output = outputs[0] if outputs else ""
    if glue:
        name = glue[0].output.removeprefix(f"{stage}.")
        looks_like = "an early end" if name == "steps" else "another value"
        return Blame(stage, name, looks_like, detail=f"in the host glue, before the stage runs: {glue[0].message}")
    if stage not in {known.name for known in bench.system.stages}:
        detail = "every stage is within its bounds, and what they add up to makes the host decide otherwise"
        return Blame(stage, output, "drift", detail=_with_decisions(detail, stage, outputs, ran))
    variant = chain_sets(bench.system)[check.variant][stage]
    own = explained(bench, replace(check, stage=stage, variant=variant.name, mode="forced"))
    if own.blame:
        return own.blame
    detail = f"{stage} is right on upstream's inputs: what the stages and the glue before it hand on has drifted"
    return Blame(stage, output, "drift", detail=_with_decisions(detail, stage, outputs, ran))


def _with_decisions(detail: str, stage: str, outputs: Sequence[str], ran: Sequence[Comparison]) -> str:
    """Return a sentence, and after it what the host decides, and upstream, where whole numbers differ."""
    said = [
        f"`{name}` is {difference(group.actual[name], group.reference[name])}"
        for group in ran
        if group.prefix == f"{stage}."
        for name in outputs
        if name in group.actual and name in group.reference
        if group.reference[name].dtype.kind in "iu" and group.declared[name].kind != "kept"
        if not np.array_equal(group.actual[name], group.reference[name])
    ]
    return "; ".join([detail, *said])
