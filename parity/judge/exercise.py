"""Inputs that the cases never vary, and branches of the host code that none takes: no golden shows a bug there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from parity.base.branches import EXCUSE, Trace
from parity.base.fingerprint import spans
from parity.declarations import HOST, Arrays, Case, Golden, Seam, Stage, System
from parity.run import stepping
from parity.run.chain import Rehearsal
from parity.steps import SLOTS
from parity.verdict import Bound, Finding

MOST = 6
MEND = f'Add a case that takes it, or say why none does: "{EXCUSE} …" on the line'


def inputs(system: System, goldens: Sequence[Golden]) -> Iterator[Finding]:
    """Yield whether each input of each stage takes at least two values over all cases and steps.

    Args:
        system: The system. `Stage.fixed` gives reasons for inputs that never vary.
        goldens: The goldens of the cases that count.
    """
    cases = ", ".join(golden.case for golden in goldens)
    for stage in system.stages:
        seams = [golden[stage.name] for golden in goldens]
        if unknown := [name for name in stage.fixed if name not in stage.inputs]:
            said = "`fixed` gives a reason for it, but it is not an input"
            yield Finding(f"{stage.name}.{unknown[0]}", "exercised", False, message=said)
        for name in stage.inputs:
            varies = _varies(stage, name, seams)
            reason = stage.fixed.get(name, "").strip()
            said = "takes several values" if varies else f"never varies: {reason}" if reason else ""
            fault = (
                f"declared, never exercised: it has the same value in every case and step of {cases}. Add a case, or "
                "give a reason in `fixed` of the stage"
            )
            yield Finding(f"{stage.name}.{name}", "exercised", bool(said), message=said or fault)


def _varies(stage: Stage, name: str, seams: Sequence[Seam]) -> bool:
    """Return whether an input takes several values. Of a single case, several within one tensor are enough."""
    seen: set[str] = set()
    for seam in seams:
        for value in _values(stage, name, seam):
            seen.add(_content(value))
            if len(seen) > 1 or (len(seams) == 1 and not _constant(value)):
                return True
    return False


def _constant(value: np.ndarray) -> bool:
    equal_nan = value.dtype.kind == "f"
    return bool(value.size) and np.array_equal(value, np.broadcast_to(value.flat[0], value.shape), equal_nan=equal_nan)


def _values(stage: Stage, name: str, seam: Seam) -> Iterator[np.ndarray]:
    """Yield what an input was at each step. Of a cache of slots, yield the slots written before the step instead."""
    output = next((made for made, source in stage.carries.items() if source == name), None)
    if stage.stepped and output is None:
        yield from seam.inputs[name]
        return
    yield seam.inputs[name]
    if stage.stepped and output is not None:
        axis, made = stepping.slots_of(stage).get(output), seam.outputs[output]
        if axis is None:
            yield from made[:-1]
        elif rows := made.shape[axis] - int((seam.inputs[f"{output}{SLOTS}"][-1] >= 0).sum()):
            yield np.take(made, np.arange(rows), axis)


def _content(value: np.ndarray) -> str:
    """Return a digest. Arrays of one and the same number count as equal, whatever their shape: a mask of ones."""
    constant = _constant(value)
    told = value.reshape(-1)[:1] if constant else np.ascontiguousarray(value)
    shape = () if constant else value.shape
    return f"{shape} {value.dtype} {hashlib.sha256(told.tobytes()).hexdigest()}"


def excuses(system: System) -> list[str]:
    """Return every excuse in the host code, with its place."""
    return _excuses(Trace(spans(system.chain)))


def _excuses(trace: Trace) -> list[str]:
    return [f"{path.name}:{one.head.start} {one.reason}" for path, every in trace.excuses.items() for one in every]


def branches(system: System, runs: Iterable[tuple[Case, Golden, Arrays]], root: Path) -> Iterator[Finding]:
    """Yield the share of lines and outcomes of conditions that the host code takes, and what it makes otherwise.

    A chain tells the latter too. Of what ships unchained, nothing else runs the host code.

    The host code is everything of the project that `system.chain` reaches by functions and classes, and of what it
    reaches by variables, such as a list of stages, whatever runs.

    Args:
        system: The system.
        runs: Each case, with its golden and tables. The host code runs on upstream's values.
        root: The project's folder.
    """
    trace = Trace(spans(system.chain, root=root), spans(system.chain, root=root, by_data=False))
    for case, golden, tables in runs:
        rehearsal = Rehearsal(system, golden, tables)
        with trace.running():
            system.chain(rehearsal, case)
        for found in rehearsal.findings():
            if not found.passed:
                yield replace(found, message=f"case {case.name}: {found.message}")
    total, missed = trace.counted()
    told = [f"{one.path.relative_to(root)}:{one.line} {one.what}" for one in missed[:MOST]]
    more = [f"and {len(missed) - MOST} more"] if len(missed) > MOST else []
    excused = (f"excused: {excuse}" for excuse in _excuses(trace))
    held = "; ".join([f"{total} lines and outcomes, all taken", *excused])
    message = f"{'; '.join([*told, *more])}. {MEND}" if missed else held
    bound = Bound("min", 1.0, 1.0)
    yield Finding(HOST, "branches", not missed, 1 - len(missed) / max(total, 1), bound, message)
