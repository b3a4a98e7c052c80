"""The modes of a check: each runs an artifact or the chain on a case, and yields what to compare."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from itertools import islice
from typing import Protocol

import numpy as np

from milrun import ModelError
from parity.compare.outputs import Comparison, chain_outputs, decisions, stage_outputs
from parity.declarations import HOST, Arrays, Case, Golden, Seam, Stage, System, Variant
from parity.plan.checks import users
from parity.run import stepping
from parity.run.chain import Chain, Free, Rehearsal
from parity.run.runtime import Crosser, Runtime, RuntimeFailure, Session, cast
from parity.verdict import Finding

FEW = 3
"""The number of steps that are made again to see if an artifact starts anew."""
Compared = Iterator[Comparison | Finding]


class Means(Protocol):
    """The means to run the stages of one system; `parity.judge.workbench.Workbench` has them."""

    @property
    def system(self) -> System: ...

    @property
    def runtime(self) -> Runtime: ...

    def session(self, stage: Stage, variant: Variant) -> Session: ...

    def tables(self, case: Case) -> Arrays: ...

    def answer(self, stage: Stage, variant: Variant) -> stepping.Answer: ...


def forced(means: Means, stage: Stage, variant: Variant, seam: Seam, interface_kept: bool) -> Compared:
    """Run an artifact on upstream's inputs, at every step, beside upstream or what the variant is replayed with.

    An artifact that takes or gives other things than declared (`interface_kept` is false) may not run at all. Then that
    is a finding, beside those about its interface.
    """
    try:
        with closing(means.session(stage, variant)) as session:
            crosser = Crosser(stage, variant, session)
            if variant.replayed:
                seam = stepping.replayed(stage, seam, crosser, means.answer(stage, variant))
            yield from list(stage_outputs(stage, variant, seam, crosser, means.runtime.numerics))
            yield from _buckets(stage, session)
    except (RuntimeFailure, ModelError, ValueError) as error:
        if interface_kept:
            raise
        yield Finding(stage.name, "runs", False, message=str(error))


def carried(means: Means, stage: Stage, variant: Variant, seam: Seam) -> Compared:
    """Run an artifact on upstream's inputs and on what it carries itself, and check that a reset starts anew."""
    with closing(means.session(stage, variant)) as session:
        used = Crosser(stage, variant, session)
        yield from stage_outputs(stage, variant, seam, used, means.runtime.numerics, own=True)
        with closing(means.session(stage, variant)) as fresh:
            yield from resets(stage, seam, used, Crosser(stage, variant, fresh))


def chained(means: Means, chosen: Mapping[str, Variant], case: Case, golden: Golden) -> Compared:
    """Rehearse the host glue on upstream's values, then run the chain of artifacts as deployed."""
    system, tables = means.system, means.tables(case)
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
                session = stack.enter_context(closing(means.session(stage, chosen[name])))
                loaded[name] = Crosser(stage, chosen[name], session)
            return loaded[name](inputs)

        def given(name: str, inputs: Arrays) -> Arrays:
            return cast(system.stage(name), chosen[name], inputs)

        run = Chain(system, golden, tables, execute, given)
        system.chain(run, case)
        for name, crosser in loaded.items():
            for found in _buckets(system.stage(name), crosser.session):
                yield replace(found, output=f"{name}.{found.output}")
        given_out = {} if run.missed else users(system)  # of a loop that ends early, nothing that follows is compared
        free = Free(system, tables, execute)
        if given_out:
            system.chain(free, case)
    yield from chain_outputs(system, run, chosen, means.runtime.numerics)
    if given_out:
        yield decisions(free.own, golden, given_out)


def _buckets(stage: Stage, session: Session) -> Iterator[Finding]:
    """Say which buckets ran, and how much of each was valid."""
    for bucket, (times, longest) in getattr(session, "used", {}).items():
        said = f"{longest} in the bucket of {bucket}" + (f", {times} times" if times > 1 else "")
        yield Finding(stage.name, "bucket", True, value=float(bucket), message=said)


def resets(stage: Stage, golden: Seam, used: Crosser, fresh: Crosser) -> Iterator[Finding]:
    """Check that an utterance does not depend on the one before it.

    Args:
        stage: A stage that runs step by step.
        golden: The recorded steps.
        used: An artifact that has made all its steps.
        fresh: The same artifact, just loaded.
    """
    first, second = (_beginning(stage, golden, cross) for cross in (used, fresh))
    for name in stage.outputs:
        pairs = [(one.get(name), other.get(name)) for one, other in zip(first, second, strict=True)]
        differ = [step for step, (one, other) in enumerate(pairs) if not _same(one, other)]
        said = f"step {differ[0]} gives another value after a reset than in a fresh load" if differ else "starts anew"
        yield Finding(name, "reset", not differ, message=said)


def _beginning(stage: Stage, golden: Seam, cross: Crosser) -> list[dict[str, np.ndarray]]:
    made = []
    carried: dict[str, np.ndarray] = {}
    for crossing in islice(stepping.crossings(stage, golden), FEW):
        outputs = cross({**crossing.inputs, **carried})
        carried = {source: outputs[name] for name, source in stage.carries.items() if name in outputs}
        made.append(outputs)
    return made


def _same(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    return one is not None and other is not None and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
