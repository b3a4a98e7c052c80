"""The modes of a check: each runs an artifact or the chain on a case, and yields its outputs beside upstream's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from milrun import ModelError
from parity.declarations import HOST, Arrays, Case, Golden, Seam, Stage, System, Tensor, Variant
from parity.plan.checks import MODULE, users
from parity.run import stepping
from parity.run.chain import Chain, Free, Rehearsal
from parity.run.runtime import Crosser, RuntimeFailure, Session, cast
from parity.verdict import Finding

PLAIN = Variant(MODULE, "float32")
FEW = 3
"""The number of steps that are made again to see if an artifact starts anew."""


@dataclass(frozen=True)
class Comparison:
    """Outputs that belong together.

    Attributes:
        declared: The outputs that have to be there.
        actual: The candidate's outputs.
        reference: Upstream's.
        dtypes: The dtypes to expect of the candidate.
        prefix: What findings put before the name of an output, such as its stage in a chain.
        turns: The turns of the true speakers, where the case knows them.
    """

    declared: Mapping[str, Tensor]
    actual: Arrays
    reference: Arrays
    dtypes: Mapping[str, str]
    prefix: str = ""
    turns: np.ndarray | None = None


Compared = Iterator[Comparison | Finding]
Load = Callable[[Stage, Variant], Session]
"""Loads the artifact of a stage."""


def forced(
    load: Load,
    stage: Stage,
    variant: Variant,
    seam: Seam,
    numerics: str,
    answer: Callable[[Stage, Variant], stepping.Answer],
    interface_kept: bool,
) -> Compared:
    """Run an artifact on upstream's inputs, at every step, beside upstream or what the variant is replayed with.

    An artifact that takes or gives other things than declared (`interface_kept` is false) may not run at all. Then that
    is a finding, beside those about its interface.
    """
    try:
        with closing(load(stage, variant)) as session:
            crosser = Crosser(stage, variant, session)
            if variant.replayed:
                seam = stepping.replayed(stage, seam, crosser, answer(stage, variant))
            yield from list(stage_outputs(stage, variant, seam, crosser, numerics))
            yield from _buckets(session, stage.name, "")
    except (RuntimeFailure, ModelError, ValueError) as error:
        if interface_kept:
            raise
        yield Finding(stage.name, "runs", False, message=str(error))


def carried(load: Load, stage: Stage, variant: Variant, seam: Seam, numerics: str) -> Compared:
    """Run an artifact on upstream's inputs and on what it carries itself, and check that a reset starts anew."""
    with closing(load(stage, variant)) as session:
        used = Crosser(stage, variant, session)
        yield from stage_outputs(stage, variant, seam, used, numerics, own=True)
        with closing(load(stage, variant)) as fresh:
            yield from _resets(stage, seam, used, Crosser(stage, variant, fresh))


def chained(
    load: Load,
    system: System,
    tables: Arrays,
    chosen: Mapping[str, Variant],
    case: Case,
    golden: Golden,
    numerics: str,
) -> Compared:
    """Rehearse the host glue on upstream's values, then run the chain of artifacts as deployed."""
    rehearsal = Rehearsal(system, golden, tables)
    try:
        system.chain(rehearsal, case)
    except ValueError as error:
        yield from rehearsal.faults()
        yield Finding(HOST, "runs", False, message=f"the glue gives up on upstream's own values: {error}")
        return
    yield from rehearsal.findings()
    with ExitStack() as stack:
        loaded: dict[str, Crosser] = {}

        def execute(name: str, inputs: Arrays) -> dict[str, np.ndarray]:
            if name not in loaded:
                stage = system.stage(name)
                session = stack.enter_context(closing(load(stage, chosen[name])))
                loaded[name] = Crosser(stage, chosen[name], session)
            return loaded[name](inputs)

        def given(name: str, inputs: Arrays) -> Arrays:
            return cast(system.stage(name), chosen[name], inputs)

        run = Chain(system, golden, tables, execute, given)
        system.chain(run, case)
        for name, crosser in loaded.items():
            yield from _buckets(crosser.session, name, f"{name}.")
        given_out = {} if run.missed else users(system)  # of a loop that ends early, nothing that follows is compared
        free = Free(system, tables, execute)
        if given_out:
            system.chain(free, case)
    yield from chain_outputs(system, run, chosen, numerics)
    if given_out:
        yield _decisions(free.own, golden, given_out)


def stage_outputs(
    stage: Stage,
    variant: Variant,
    golden: Seam,
    cross: Callable[[Arrays], dict[str, np.ndarray]],
    numerics: str = "declared",
    own: bool = False,
) -> Compared:
    """Yield the outputs of every recorded crossing of a stage as one comparison.

    Args:
        stage: The stage.
        variant: The variant of it that `cross` runs.
        golden: The recorded crossings.
        cross: Runs the stage on inputs.
        numerics: The numerics of the runtime.
        own: Hand on from step to step what `cross` carries itself, instead of what upstream carried.
    """
    if stage.stepped:
        track = stepping.walk(stage, golden, cross, lambda inputs: cast(stage, variant, inputs), own)
        yield from track.findings()
        outputs = track.outputs
    else:
        outputs = cross(golden.inputs)
    yield _comparison(stage, golden, outputs, runtime_dtypes(stage, variant, numerics))


def chain_outputs(system: System, run: Chain, chosen: Mapping[str, Variant], numerics: str) -> Compared:
    """Yield the outputs of all stages in a run of the chain, and the decisions of the host.

    Where a loop ended early, that is found once: of the first stage in it. What follows from it is not compared.

    Args:
        system: The system.
        run: The chain after it ran.
        chosen: The variant of each stage.
        numerics: The numerics of the runtime.
    """
    missed = run.missed
    for stage in system.stages:
        prefix, golden = f"{stage.name}.", run.golden[stage.name]
        if stage.name not in missed[1:]:
            yield from (replace(found, output=prefix + found.output) for found in run.findings(stage))
        if stage.name in missed:
            continue
        if declared := stage.decided:
            known = golden.inputs
            if stage.stepped:
                joined, known = stepping.joined(stage, golden), stepping.truth(stage, golden)
                declared = {name: joined[name] for name in declared}
            yield _exact(declared, run.decisions(stage), known, prefix)
        dtypes = runtime_dtypes(stage, chosen[stage.name], numerics)
        yield _comparison(stage, golden, run.outputs(stage), dtypes, prefix)
    if system.decisions and not missed:
        yield _decisions(run.own, run.golden, system.decisions, f"{HOST}.")


def runtime_dtypes(stage: Stage, variant: Variant, numerics: str) -> dict[str, str]:
    """Return the dtypes of the outputs that a runtime gives: milrun's fp32 numerics have no half precision."""
    dtypes = {name: tensor.dtype_in(variant) for name, tensor in stage.outputs.items()}
    wide = numerics == "fp32"
    return {name: "float32" if wide and dtype == "float16" else dtype for name, dtype in dtypes.items()}


def _comparison(stage: Stage, golden: Seam, actual: Arrays, dtypes: Mapping[str, str], prefix: str = "") -> Comparison:
    """Return the outputs of a stage, all steps together; in a chain, which has a prefix, without derived values."""
    if not stage.stepped:
        return Comparison(stage.outputs, actual, golden.outputs, dtypes, prefix)
    joined, truth = stepping.joined(stage, golden), stepping.truth(stage, golden)
    wanted = {**dtypes, **({} if prefix else {name: tensor.dtype for name, tensor in stage.derived.items()})}
    declared = {name: joined[name] for name in wanted}
    return Comparison(declared, actual, {name: truth[name] for name in wanted}, wanted, prefix)


def _decisions(made: Arrays, goldens: Golden, declared: Mapping[str, Tensor], prefix: str = "") -> Comparison:
    """Return the decisions of the host beside upstream's, and beside the truth of the recording."""
    golden = goldens[HOST]
    own = {name: made[name] for name in declared if name in made}
    return _exact(declared, own, golden.outputs, prefix, golden.inputs.get("turns"))


def _exact(
    declared: Mapping[str, Tensor], made: Arrays, known: Arrays, prefix: str, turns: np.ndarray | None = None
) -> Comparison:
    """Return values that the host makes, in the dtypes that upstream has them in."""
    truth = {name: known[name] for name in declared}
    return Comparison(declared, made, truth, {name: str(value.dtype) for name, value in truth.items()}, prefix, turns)


def _buckets(session: Session, stage: str, prefix: str) -> Iterator[Finding]:
    """Say which buckets ran, and how much of each was valid."""
    for bucket, (times, longest) in getattr(session, "used", {}).items():
        said = f"{longest} in the bucket of {bucket}" + (f", {times} times" if times > 1 else "")
        yield Finding(f"{prefix}{stage}", "bucket", True, value=float(bucket), message=said)


def _resets(stage: Stage, golden: Seam, used: Crosser, fresh: Crosser) -> Iterator[Finding]:
    """Check that an utterance does not depend on the one before it: what was used gives what is just loaded gives."""
    both = list(zip(_beginning(stage, golden, used), _beginning(stage, golden, fresh), strict=True))
    for name in stage.outputs:
        same = [
            name in one and name in other and np.array_equal(one[name], other[name], equal_nan=True)
            for one, other in both
        ]
        said = "starts anew"
        if not all(same):
            said = f"step {same.index(False)} gives another value after a reset than in a fresh load"
        yield Finding(name, "reset", all(same), message=said)


def _beginning(stage: Stage, golden: Seam, cross: Crosser) -> Iterator[dict[str, np.ndarray]]:
    carried: dict[str, np.ndarray] = {}
    for crossing in islice(stepping.crossings(stage, golden), FEW):
        outputs = cross({**crossing.inputs, **carried})
        carried = {source: outputs[name] for name, source in stage.carries.items() if name in outputs}
        yield outputs
