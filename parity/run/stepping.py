"""The recorded steps of a stage, read back one by one, made again by an artifact, and compared as one.

`parity.steps` describes the form of such a recording.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from parity.declarations import Arrays, Seam, Stage, Tensor
from parity.steps import SLOTS, Crossing
from parity.verdict import Finding

Answer = Callable[[Arrays, Arrays], Arrays]
"""Returns what `Stage.replay` answers to the inputs and the outputs of an artifact."""


def slots_of(stage: Stage) -> dict[str, int]:
    """Return the caches of which a step writes a few slots, and the axis of these slots."""
    return {name: axis for name in stage.carries if (axis := stage.outputs[name].slots) is not None}


def count(stage: Stage, golden: Seam) -> int:
    """Return how many steps were recorded."""
    for name in stage.outputs:
        if f"{name}{SLOTS}" in golden.inputs:
            return len(golden.inputs[f"{name}{SLOTS}"])
        if name in golden.outputs:
            return len(golden.outputs[name])
    raise ValueError(f"the golden of {golden.stage} has none of its outputs {', '.join(stage.outputs)}")


def written(stage: Stage, golden: Seam, step: int) -> dict[str, np.ndarray]:
    """Return the slots of each cache that upstream wrote at a step."""
    tables = {name: golden.inputs[f"{name}{SLOTS}"][step] for name in slots_of(stage)}
    return {name: row[row >= 0] for name, row in tables.items()}


def crossings(stage: Stage, golden: Seam) -> Iterator[Crossing]:
    """Yield every recorded step, in order and whole. Callers may keep and modify its arrays."""
    carried = {name: golden.inputs[source].copy() for name, source in stage.carries.items()}
    taken = dict.fromkeys(stage.outputs, 0)
    for step in range(count(stage, golden)):
        inputs = {name: golden.inputs[name][step] for name in stage.inputs if name not in stage.carries.values()}
        inputs.update({source: carried[name].copy() for name, source in stage.carries.items()})
        slots = written(stage, golden, step)
        outputs = {}
        for name in stage.outputs:
            if name in slots:
                axis, start = slots_of(stage)[name], taken[name]
                taken[name] += slots[name].size
                np.moveaxis(carried[name], axis, 0)[slots[name]] = np.moveaxis(golden.outputs[name], axis, 0)[
                    start : taken[name]
                ]
            elif name in stage.carries:
                carried[name] = golden.outputs[name][step]
            outputs[name] = carried[name].copy() if name in stage.carries else golden.outputs[name][step]
        yield Crossing(
            {name: inputs[name] for name in stage.inputs}, outputs, {name: [*row] for name, row in slots.items()}
        )


def joined(stage: Stage, golden: Seam) -> dict[str, Tensor]:
    """Return the declarations of the outputs of all steps together."""
    steps, axes = count(stage, golden), slots_of(stage)
    found = {}
    for name, tensor in {**stage.outputs, **stage.derived}.items():
        if name in axes:
            rows = int((golden.inputs[f"{name}{SLOTS}"] >= 0).sum())
            shape = tuple(rows if axis == axes[name] else size for axis, size in enumerate(tensor.shape))
        elif tensor.kind == "stream":
            shape = (steps * int(np.prod(tensor.sizes({}))),)
        else:
            shape = (steps, *tensor.shape)
        found[name] = replace(tensor, shape=shape, slots=None)
    return found


def truth(stage: Stage, golden: Seam) -> dict[str, np.ndarray]:
    """Return the expected values of the joined outputs, derived values included."""
    outputs = {name: _whole(stage, name, value) for name, value in golden.outputs.items()}
    if not stage.derived:
        return outputs
    steps = [derived(stage, golden, step) for step in range(count(stage, golden))]
    return {**outputs, **{name: np.stack([made[name] for made in steps]) for name in stage.derived}}


def derived(stage: Stage, golden: Seam, step: int) -> Arrays:
    """Return what upstream's outputs of a step give for the derived values."""
    return stage.derive({name: golden.outputs[name][step] for name in stage.outputs if name not in stage.carries})


def _whole(stage: Stage, name: str, value: np.ndarray) -> np.ndarray:
    """Join audio that is streamed frame by frame into one signal."""
    return value.reshape(-1) if name in stage.outputs and stage.outputs[name].kind == "stream" else value


def first(stage: Stage, golden: Seam) -> Arrays:
    """Return the inputs of the first recorded crossing of a stage."""
    return next(crossings(stage, golden)).inputs if stage.stepped else golden.inputs


def walk(
    stage: Stage,
    golden: Seam,
    cross: Callable[[Arrays], dict[str, np.ndarray]],
    given: Callable[[Arrays], Arrays],
    own: bool = False,
) -> Track:
    """Run all recorded steps by `cross`, on upstream's carried values, or on those that `cross` itself carries.

    `given` casts the inputs for the artifact. Unwritten slots must keep the cast values.
    """
    track = Track(stage, golden)
    carried: dict[str, np.ndarray] = {}
    for crossing in crossings(stage, golden):
        inputs = given({**crossing.inputs, **carried})
        outputs = cross(inputs)
        track.add(inputs, outputs)
        if own:
            carried = {source: outputs[name] for name, source in stage.carries.items() if name in outputs}
    return track


def replayed(stage: Stage, golden: Seam, cross: Callable[[Arrays], Arrays], answer: Answer) -> Seam:
    """Return recorded crossings with the module's answers to an artifact in place of upstream's outputs.

    Args:
        stage: The stage, of which a variant is `replayed`.
        golden: The recorded crossings.
        cross: Runs the artifact on inputs.
        answer: Runs `Stage.replay`.
    """
    if not stage.stepped:
        return replace(golden, outputs=answer(golden.inputs, cross(golden.inputs)))
    made = [answer(step.inputs, cross(step.inputs)) for step in crossings(stage, golden)]
    return replace(golden, outputs={name: np.stack([step[name] for step in made]) for name in stage.outputs})


class Track:
    """Gathers what a stage gave at each step, and what became of the slots that upstream leaves alone."""

    def __init__(self, stage: Stage, golden: Seam) -> None:
        self.stage, self.golden = stage, golden
        self.steps = 0
        self._found: dict[str, list[np.ndarray]] = {}
        self._spoilt: dict[str, str] = {}

    def add(self, inputs: Arrays, outputs: Arrays, derived: Arrays | None = None) -> None:
        """Add one step: the artifact's inputs, in the dtypes that it was given, and its outputs."""
        step, self.steps = self.steps, self.steps + 1
        if step >= count(self.stage, self.golden):
            return
        axes, slots = slots_of(self.stage), written(self.stage, self.golden, step)
        plain = {name: value for name, value in outputs.items() if name not in self.stage.carries}
        known = all(name in outputs for name in self.stage.outputs)
        made = derived if derived is not None else self.stage.derive(plain) if known else {}
        for name, value in {**outputs, **made}.items():
            declared = self.stage.outputs.get(name) or self.stage.derived.get(name)
            if declared and (misfit := declared.bind(value.shape, {})):
                raise ValueError(f"{name} has the shape {value.shape} at step {step}: {misfit}")
            if name in axes:
                self._keeps(name, inputs[self.stage.carries[name]], value, slots[name], step)
                value = np.take(value, slots[name], axes[name])
            self._found.setdefault(name, []).append(value)

    def _keeps(self, name: str, before: np.ndarray, after: np.ndarray, slots: np.ndarray, step: int) -> None:
        if name in self._spoilt:
            return
        changed = spoilt(self.stage, name, before, after, slots)
        if changed.size:
            wrote = f"upstream writes {_listed(slots)}"
            self._spoilt[name] = f"step {step} of {count(self.stage, self.golden)} also changes slot {_listed(changed)}"
            self._spoilt[name] += f": {wrote}"

    @property
    def outputs(self) -> dict[str, np.ndarray]:
        axes = slots_of(self.stage)
        return {
            name: np.concatenate(values, axes[name]) if name in axes else _whole(self.stage, name, np.stack(values))
            for name, values in self._found.items()
        }

    def findings(self) -> Iterator[Finding]:
        wanted = count(self.stage, self.golden)
        said = f"{self.steps} steps" if self.steps == wanted else f"{self.steps} steps where upstream made {wanted}"
        yield Finding("steps", "count", self.steps == wanted, value=float(self.steps), message=said)
        for name in slots_of(self.stage):
            fault = self._spoilt.get(name, "")
            yield Finding(name, "kept", not fault, message=fault or "what is not written is left alone")


def spoilt(stage: Stage, name: str, before: np.ndarray, after: np.ndarray, slots: np.ndarray) -> np.ndarray:
    """Return the slots that upstream does not write at a step and that changed all the same. NaN equals NaN."""
    axis = slots_of(stage)[name]
    others = np.setdiff1d(np.arange(after.shape[axis]), slots)
    was, now = (np.moveaxis(value, axis, 0)[others] for value in (before, after))
    if was.dtype != now.dtype:  # in fp32 numerics milrun widens what comes out
        was = was.astype(now.dtype)
    differs = (was != now) & ~(np.isnan(was) & np.isnan(now))
    return others[differs.any(axis=tuple(range(1, differs.ndim)))]


def _listed(slots: np.ndarray) -> str:
    if slots.size > 2 and slots[-1] - slots[0] == slots.size - 1:
        return f"{slots[0]} to {slots[-1]}"
    return ", ".join(map(str, slots[:4])) + (", …" if slots.size > 4 else "")
