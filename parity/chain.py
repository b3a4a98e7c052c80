"""The host glue at work: with the artifacts, as deployed, and rehearsed with upstream's own values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import numpy as np

from parity import steps
from parity.declarations import Arrays, Seam, Stage, System, Tensor
from parity.verdict import Finding


class Golden(Protocol):
    def __getitem__(self, stage: str) -> Seam: ...


def decided(stage: Stage) -> dict[str, Tensor]:
    """What the host decides at a stage: inputs such as durations, and what is derived of its outputs."""
    inputs = {name: tensor for name, tensor in stage.inputs.items() if tensor.kind == "durations"}
    return {**inputs, **stage.derived}


class Chain:
    """The `Run` that the host glue is given: remembers what crossed each stage, and what was decided."""

    def __init__(
        self,
        system: System,
        golden: Golden,
        tables: Arrays,
        execute: Callable[[str, Arrays], dict[str, np.ndarray]],
        given: Callable[[str, Arrays], Arrays],
    ) -> None:
        """`given` casts what the host hands to a stage, and `execute` runs it on that."""
        self.system, self.golden, self.tables, self._execute, self._given = system, golden, tables, execute, given
        self._crossed: dict[str, Seam] = {}
        self._tracks: dict[str, steps.Track] = {}
        self._decided: dict[str, dict[str, list[np.ndarray]]] = {}

    def __call__(self, stage: str, inputs: Arrays) -> Mapping[str, np.ndarray]:
        inputs = self._given(stage, inputs)
        outputs = self._execute(stage, inputs)
        declared = self.system.stage(stage)
        if declared.stepped:
            if stage not in self._tracks:
                self._tracks[stage] = steps.Track(declared, self.golden[stage])
            self._tracks[stage].add(inputs, outputs, {})
        else:
            self._crossed[stage] = Seam(stage, dict(inputs), outputs)
        return outputs

    def decide(self, stage: str, name: str, value: np.ndarray) -> np.ndarray:
        made = self._decided.setdefault(stage, {}).setdefault(name, [])
        made.append(value)
        return truly(self.system.stage(stage), self.golden[stage], name, len(made) - 1)

    def outputs(self, stage: Stage) -> dict[str, np.ndarray]:
        """What a stage gave, all its steps together; nothing where it never ran."""
        if stage.stepped:
            return self._tracks[stage.name].outputs if stage.name in self._tracks else {}
        return dict(self._crossed[stage.name].outputs) if stage.name in self._crossed else {}

    def decisions(self, stage: Stage) -> dict[str, np.ndarray]:
        """What the host decided at a stage, in its own shape, or that of all steps."""
        made = self._decided.get(stage.name, {})
        return {name: np.stack(values) if name in stage.derived else values[-1] for name, values in made.items()}

    def findings(self, stage: Stage) -> Iterator[Finding]:
        """Whether a stage made all of its steps, and left alone what they don't write."""
        if stage.stepped and stage.name in self._tracks:
            yield from self._tracks[stage.name].findings()


def truly(stage: Stage, golden: Seam, name: str, step: int) -> np.ndarray:
    """What upstream decided."""
    if name not in stage.derived:
        return golden.inputs[name]
    known = steps.count(stage, golden)
    if step >= known:
        raise ValueError(f"{stage.name}: the host decides {name} a {step + 1}th time, upstream did {known} times")
    plain = [output for output in stage.outputs if output not in stage.carries]
    return stage.derive({output: golden.outputs[output][step] for output in plain})[name]


class Rehearsal:
    """The glue with stages that give exactly what upstream gave: then all that it makes has to be upstream's, to the
    bit."""

    def __init__(self, system: System, golden: Golden, tables: Arrays) -> None:
        self.system, self.golden, self.tables = system, golden, tables
        self._steps: dict[str, Iterator[steps.Crossing]] = {}
        self._made: dict[str, int] = {}
        self._decided: dict[tuple[str, str], int] = {}
        self._faults: dict[tuple[str, str], str] = {}

    def __call__(self, stage: str, inputs: Arrays) -> Mapping[str, np.ndarray]:
        crossing, where = self._next(self.system.stage(stage))
        for name in dict.fromkeys((*crossing.inputs, *inputs)):
            if name not in inputs or name not in crossing.inputs:
                fault = "is not given" if name not in inputs else "is given, and upstream has no such input"
            elif not _same(inputs[name], crossing.inputs[name]):
                fault = "the host made another value than upstream has"
            else:
                continue
            self._faults.setdefault((stage, name), f"{fault}{where}")
        return dict(crossing.outputs)

    def decide(self, stage: str, name: str, value: np.ndarray) -> np.ndarray:
        step = self._decided.get((stage, name), 0)
        self._decided[stage, name] = step + 1
        truth = truly(self.system.stage(stage), self.golden[stage], name, step)
        if not _same(value, truth):
            self._faults.setdefault((stage, name), "the host decides otherwise than upstream on upstream's values")
        return truth

    def findings(self) -> Iterator[Finding]:
        """What went wrong first comes first; what follows from it would only hide it."""
        for (owner, name), fault in self._faults.items():
            yield Finding(f"{owner}.{name}", "glue", False, message=fault)
        for stage in self.system.stages:
            made = self._made.get(stage.name, 0)
            wanted = steps.count(stage, self.golden[stage.name]) if stage.stepped else 1
            count = "" if made == wanted else f"the host runs it {made} times, upstream {wanted} times"
            yield Finding(f"{stage.name}.steps", "glue", not count, message=count or f"run {made} times, as upstream")
            for name in (*stage.inputs, *stage.derived):
                if (stage.name, name) not in self._faults:
                    message = "made by the host as upstream has it"
                    yield Finding(f"{stage.name}.{name}", "glue", True, message=message)

    def _next(self, stage: Stage) -> tuple[steps.Crossing, str]:
        made = self._made[stage.name] = self._made.get(stage.name, 0) + 1
        golden = self.golden[stage.name]
        if not stage.stepped:
            return steps.Crossing(golden.inputs, golden.outputs), ""
        if stage.name not in self._steps:
            self._steps[stage.name] = steps.crossings(stage, golden)
        total = steps.count(stage, golden)
        crossing = next(self._steps[stage.name], None)
        if crossing is None:
            raise ValueError(f"{stage.name}: the host runs a {made}th step, upstream made {total}")
        return crossing, f" at step {made - 1} of {total}"


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
