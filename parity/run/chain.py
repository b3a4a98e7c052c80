"""The host glue at work: with the artifacts, as deployed, and rehearsed with upstream's own values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from parity.declarations import HOST, Arrays, Golden, Seam, Stage, System, Tensor
from parity.run import stepping
from parity.steps import Crossing
from parity.verdict import Finding


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
        """Take `given`, which casts the host's inputs for a stage, and `execute`, which runs the stage on them."""
        self.system, self.golden, self.tables, self._execute, self._given = system, golden, tables, execute, given
        self._crossed: dict[str, Seam] = {}
        self._tracks: dict[str, stepping.Track] = {}
        self._decided: dict[str, dict[str, list[np.ndarray]]] = {}

    def __call__(self, stage: str, inputs: Arrays) -> Mapping[str, np.ndarray]:
        inputs = self._given(stage, inputs)
        outputs = self._execute(stage, inputs)
        declared = self.system.stage(stage)
        if declared.stepped:
            if stage not in self._tracks:
                self._tracks[stage] = stepping.Track(declared, self.golden[stage])
            self._tracks[stage].add(inputs, outputs, {})
        else:
            self._crossed[stage] = Seam(stage, dict(inputs), outputs)
        return outputs

    def decide(self, stage: str, name: str, value: np.ndarray) -> np.ndarray:
        made = self._decided.setdefault(stage, {}).setdefault(name, [])
        made.append(value)
        return truly(self.system, self.golden, stage, name, made)

    def outputs(self, stage: Stage) -> dict[str, np.ndarray]:
        """Return the outputs of a stage, all steps together; nothing for a stage that never ran."""
        if stage.stepped:
            return self._tracks[stage.name].outputs if stage.name in self._tracks else {}
        return dict(self._crossed[stage.name].outputs) if stage.name in self._crossed else {}

    def decisions(self, stage: Stage) -> dict[str, np.ndarray]:
        """Return the host's decisions at a stage, in their own shape, or in that of all steps."""
        made = self._decided.get(stage.name, {})
        return {name: np.stack(values) if name in stage.derived else values[-1] for name, values in made.items()}

    @property
    def own(self) -> dict[str, np.ndarray]:
        """The decisions of the host beside the stages, all calls together."""
        return {name: np.concatenate(values) for name, values in self._decided.get(HOST, {}).items()}

    def findings(self, stage: Stage) -> Iterator[Finding]:
        """Yield whether a stage made all of its steps and left unwritten slots alone."""
        if stage.stepped and stage.name in self._tracks:
            yield from self._tracks[stage.name].findings()


class Free:
    """The chain as the user has it, on anything: its decisions stand, and what nothing goes on with does not run."""

    def __init__(
        self,
        system: System,
        tables: Arrays,
        execute: Callable[[str, Arrays], dict[str, np.ndarray]],
        given: Callable[[str, Arrays], Arrays],
    ) -> None:
        self.system, self.tables, self._execute, self._given = system, tables, execute, given
        self._decided: dict[str, list[np.ndarray]] = {}

    def __call__(self, stage: str, inputs: Arrays) -> Mapping[str, np.ndarray]:
        return {} if self.system.stage(stage).aside else self._execute(stage, self._given(stage, inputs))

    def decide(self, stage: str, name: str, value: np.ndarray) -> np.ndarray:
        if stage == HOST:
            # A copy, for a view would hold on to all that a step gave.
            self._decided.setdefault(name, []).append(value.copy())
        return value

    @property
    def own(self) -> dict[str, np.ndarray]:
        """The decisions of the host beside the stages, all calls together."""
        return {name: np.concatenate(values) for name, values in self._decided.items()}


def truly(system: System, goldens: Golden, name_of_stage: str, name: str, made: Sequence[np.ndarray]) -> np.ndarray:
    """Return upstream's decision in place of the host's last one."""
    golden = goldens[name_of_stage]
    if name_of_stage == HOST:
        first, rows = sum(map(len, made[:-1])), len(made[-1])
        truth = golden.outputs[name][first : first + rows]
        if len(truth) < rows:
            raise ValueError(f"the host decides {first + rows} rows of {name}, upstream {len(golden.outputs[name])}")
        return truth
    stage, step = system.stage(name_of_stage), len(made) - 1
    if name not in stage.derived:
        return golden.inputs[name]
    known = stepping.count(stage, golden)
    if step >= known:
        raise ValueError(f"{stage.name}: the host decides {name} a {step + 1}th time, upstream did {known} times")
    plain = [output for output in stage.outputs if output not in stage.carries]
    return stage.derive({output: golden.outputs[output][step] for output in plain})[name]


class Rehearsal:
    """The glue with stages that give exactly what upstream gave: then all that it makes has to be upstream's, to the
    bit; what it sums, to rounding."""

    def __init__(self, system: System, golden: Golden, tables: Arrays) -> None:
        self.system, self.golden, self.tables = system, golden, tables
        self._steps: dict[str, Iterator[Crossing]] = {}
        self._made: dict[str, int] = {}
        self._decided: dict[tuple[str, str], list[np.ndarray]] = {}
        self._faults: dict[tuple[str, str], str] = {}

    def __call__(self, stage: str, inputs: Arrays) -> Mapping[str, np.ndarray]:
        crossing, where = self._next(self.system.stage(stage))
        for name in dict.fromkeys((*crossing.inputs, *inputs)):
            if name not in inputs or name not in crossing.inputs:
                fault = "is not given" if name not in inputs else "is given, and upstream has no such input"
            elif not (_near if name in self.system.sums else _same)(inputs[name], crossing.inputs[name]):
                fault = "the host made another value than upstream has"
            else:
                continue
            self._faults.setdefault((stage, name), f"{fault}{where}")
        return dict(crossing.outputs)

    def decide(self, stage: str, name: str, value: np.ndarray) -> np.ndarray:
        made = self._decided.setdefault((stage, name), [])
        made.append(value)
        truth = truly(self.system, self.golden, stage, name, made)
        if not _agree(self.system.decisions.get(name) if stage == HOST else None, value, truth):
            self._faults.setdefault((stage, name), "the host decides otherwise than upstream on upstream's values")
        return truth

    def findings(self) -> Iterator[Finding]:
        """Yield the faults in the order in which they arose, since later ones may follow from the first."""
        for (owner, name), fault in self._faults.items():
            yield Finding(f"{owner}.{name}", "glue", False, message=fault)
        for stage in self.system.stages:
            made = self._made.get(stage.name, 0)
            wanted = stepping.count(stage, self.golden[stage.name]) if stage.stepped else 1
            count = "" if made == wanted else f"the host runs it {made} times, upstream {wanted} times"
            yield Finding(f"{stage.name}.steps", "glue", not count, message=count or f"run {made} times, as upstream")
            for name in (*stage.inputs, *stage.derived):
                if (stage.name, name) not in self._faults:
                    message = "made by the host as upstream has it"
                    yield Finding(f"{stage.name}.{name}", "glue", True, message=message)
        for name in self.system.decisions:
            made, wanted = sum(map(len, self._decided.get((HOST, name), []))), len(self.golden[HOST].outputs[name])
            count = "" if made == wanted else f"the host decides {made} rows, upstream {wanted}"
            yield Finding(f"{HOST}.{name}", "glue", not count, message=count or f"{made} rows decided, as upstream")

    def _next(self, stage: Stage) -> tuple[Crossing, str]:
        made = self._made[stage.name] = self._made.get(stage.name, 0) + 1
        golden = self.golden[stage.name]
        if not stage.stepped:
            return Crossing(golden.inputs, golden.outputs), ""
        if stage.name not in self._steps:
            self._steps[stage.name] = stepping.crossings(stage, golden)
        total = stepping.count(stage, golden)
        crossing = next(self._steps[stage.name], None)
        if crossing is None:
            raise ValueError(f"{stage.name}: the host runs a {made}th step, upstream made {total}")
        return crossing, f" at step {made - 1} of {total}"


_ULPS = 4


def _agree(tensor: Tensor | None, one: np.ndarray, other: np.ndarray) -> bool:
    """Compare what a cache keeps as a set, row by row. Of two copies of a frame, either may have been chosen first."""
    if tensor is not None and tensor.kind == "kept":
        return _same(np.sort(one), np.sort(other))
    return _same(one, other)


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


def _near(one: np.ndarray, other: np.ndarray) -> bool:
    """Compare up to a few units in the last place of the largest value, because libraries add in different orders."""
    if one.dtype != other.dtype or one.shape != other.shape or not np.isfinite(other).all():
        return _same(one, other)
    room = _ULPS * float(np.finfo(other.dtype).eps) * float(np.abs(other).max(initial=0))
    return np.allclose(one, other, rtol=0, atol=room)
