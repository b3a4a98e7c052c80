"""Inputs that never vary: whatever an artifact does with such an input, no golden shows it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from parity.declarations import Golden, Seam, Stage, System
from parity.run import stepping
from parity.steps import SLOTS
from parity.verdict import Finding

GATE = "exercised"
ENOUGH = 2


def findings(system: System, goldens: Iterable[Golden]) -> Iterator[Finding]:
    """Yield whether each input of each stage takes at least two values over all cases and steps.

    Args:
        system: The system. `Stage.fixed` gives reasons for inputs that never vary.
        goldens: The goldens of the cases that count.
    """
    seams = {stage.name: [golden[stage.name] for golden in goldens] for stage in system.stages}
    for stage in system.stages:
        if unknown := [name for name in stage.fixed if name not in stage.inputs]:
            said = "`fixed` gives a reason for it, but it is not an input"
            yield Finding(f"{stage.name}.{unknown[0]}", GATE, False, message=said)
        for name in stage.inputs:
            varies = _varies(stage, name, seams[stage.name])
            reason = stage.fixed.get(name, "").strip()
            said = "takes several values" if varies else f"never varies: {reason}" if reason else ""
            fault = (
                f"declared, never exercised: it has the same value in every case and step of "
                f"{', '.join(golden.case for golden in goldens)}. Add a case, or give a reason in `fixed` of the stage"
            )
            yield Finding(f"{stage.name}.{name}", GATE, bool(said), message=said or fault)


def _varies(stage: Stage, name: str, seams: Sequence[Seam]) -> bool:
    """Return whether an input takes several values. Of a single case, several within one tensor are enough."""
    seen: set[str] = set()
    for seam in seams:
        for value in _values(stage, name, seam):
            seen.add(_content(value))
            if len(seen) >= ENOUGH or (len(seams) == 1 and not _constant(value)):
                return True
    return False


def _constant(value: np.ndarray) -> bool:
    first = value.reshape(-1)[:1]
    return bool(value.size) and np.array_equal(
        value, np.broadcast_to(first, value.shape), equal_nan=value.dtype.kind == "f"
    )


def _values(stage: Stage, name: str, seam: Seam) -> Iterator[np.ndarray]:
    """Yield what an input was at each step. Of a cache of slots, yield the slots written before the step instead."""
    if not stage.stepped:
        yield seam.inputs[name]
    elif (output := {source: made for made, source in stage.carries.items()}.get(name)) is None:
        yield from seam.inputs[name]
    else:
        yield seam.inputs[name]
        steps = stepping.count(stage, seam)
        if output in stepping.slots_of(stage):
            last = int((seam.inputs[f"{output}{SLOTS}"][-1] >= 0).sum())
            axis = stepping.slots_of(stage)[output]
            rows = seam.outputs[output].shape[axis] - last
            if steps > 1 and rows > 0:
                yield np.take(seam.outputs[output], np.arange(rows), axis)
        else:
            yield from seam.outputs[output][: steps - 1]


def _content(value: np.ndarray) -> str:
    """Return a digest. Arrays of one and the same number count as equal, whatever their shape: a mask of ones."""
    constant = _constant(value)
    told = value.reshape(-1)[:1] if constant else np.ascontiguousarray(value)
    shape = () if constant else value.shape
    return f"{shape} {value.dtype} {hashlib.sha256(told.tobytes()).hexdigest()}"
