"""Artifacts at work: one loaded artifact, crossed once or step after step, in the dtypes that the app gives it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

import numpy as np

from parity.declarations import Arrays, Seam, Stage, Variant
from parity.run import Session, stepping
from parity.run.runtime import State
from parity.verdict import Finding


class Crosser:
    """Runner of one loaded artifact.

    Values that the artifact holds in states are written before a step and read after it, so that all artifacts of a
    stage take and give the same."""

    def __init__(self, stage: Stage, variant: Variant, session: Session) -> None:
        self.stage, self.variant, self.session = stage, variant, session
        self._state: State | None = None

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        inputs = cast(self.stage, self.variant, inputs)
        held = self.stage.held(self.variant)
        if not held:
            return self.session.run(inputs)
        state = self._state = self._state or self.session.make_state()
        for source in held.values():
            state.write_state(source, inputs[source])
        outputs = self.session.run({name: value for name, value in inputs.items() if name not in held.values()}, state)
        return {**outputs, **{name: np.array(state.read_state(source)) for name, source in held.items()}}


@contextmanager
def closing(session: Session) -> Iterator[Session]:
    try:
        yield session
    finally:
        session.close()


def cast(stage: Stage, variant: Variant, inputs: Arrays) -> dict[str, np.ndarray]:
    """Return inputs in the declared dtypes. As in the app, only half and single precision are cast."""
    result = {}
    for name, value in inputs.items():
        declared = stage.inputs.get(name)
        wanted = declared.dtype_in(variant) if declared else value.dtype
        floats = value.dtype.kind == "f" and np.dtype(wanted).kind == "f"
        result[name] = value.astype(wanted) if floats else value
    return result


FEW = 3


def repeated(stage: Stage, golden: Seam, used: Crosser, fresh: Crosser) -> Iterator[Finding]:
    """Check that an artifact after all its steps starts like one that was just loaded.

    An utterance must not depend on the one before it."""
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
