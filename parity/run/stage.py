"""Artifacts at work: one loaded artifact, crossed once or step after step, in the dtypes that the app gives it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from parity.declarations import Arrays, Stage, Variant
from parity.run import Session
from parity.run.runtime import State


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
