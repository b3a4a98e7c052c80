"""The host glue: at work with the artifacts, as deployed, and rehearsed with upstream's own values."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from parity.declarations import HOST, Arrays, Golden, Stage, System
from parity.run import stepping
from parity.steps import Crossing
from parity.verdict import Finding

_ULPS = 16
"""Units in the last place of the largest value by which a sum of the host may be off. Its terms come out of products of
other sizes than upstream's: of 2,048 terms, that alone was 4.3 on one processor."""
_FEW = 3
"""The number of places of a difference that are named."""

Execute = Callable[[str, Arrays], dict[str, np.ndarray]]
"""Runs the stage of a name on inputs."""
Decided = defaultdict[tuple[str, str], list[np.ndarray]]
"""The values of each call, by stage and name."""


class Chain:
    """The `Run` that the host glue is given: remembers what each stage gave, and what was decided.

    Args:
        system: The system.
        golden: The golden of the case.
        tables: The tables of the host.
        execute: Runs a stage on inputs.
        given: Casts the host's inputs for a stage.
    """

    def __init__(
        self,
        system: System,
        golden: Golden,
        tables: Arrays,
        execute: Execute,
        given: Callable[[str, Arrays], Arrays] = lambda stage, inputs: inputs,
    ) -> None:
        self.system, self.golden, self.tables, self._execute, self._given = system, golden, tables, execute, given
        self._outputs: dict[str, dict[str, np.ndarray]] = {}
        self._tracks: dict[str, stepping.Track] = {}
        self._decided: Decided = defaultdict(list)

    def __call__(self, stage: str, inputs: Arrays) -> Mapping[str, np.ndarray]:
        inputs = self._given(stage, inputs)
        outputs = self._execute(stage, inputs)
        declared = self.system.stage(stage)
        if declared.stepped:
            self._track(declared).add(inputs, outputs, {})
        else:
            self._outputs[stage] = outputs
        return outputs

    def decide(self, stage: str, name: str, value: np.ndarray) -> np.ndarray:
        self._decided[stage, name].append(value)
        return truly(self.system, self.golden, stage, name, self._decided[stage, name])

    def outputs(self, stage: Stage) -> dict[str, np.ndarray]:
        """Return the outputs of a stage, all steps together; nothing for a stage that never ran."""
        return self._track(stage).outputs if stage.stepped else dict(self._outputs.get(stage.name, {}))

    def decisions(self, stage: Stage) -> dict[str, np.ndarray]:
        """Return the host's decisions at a stage, in their own shape, or in that of all steps."""
        made = {name: values for (owner, name), values in self._decided.items() if owner == stage.name}
        return {name: np.stack(values) if name in stage.derived else values[-1] for name, values in made.items()}

    @property
    def own(self) -> dict[str, np.ndarray]:
        return _own(self._decided)

    @property
    def missed(self) -> list[str]:
        """The stages that made fewer steps than upstream's."""
        return [
            stage.name
            for stage in self.system.stages
            if stage.stepped and self._track(stage).steps < stepping.count(stage, self.golden[stage.name])
        ]

    def findings(self, stage: Stage) -> Iterator[Finding]:
        """Yield whether a stage made all of its steps and left unwritten slots alone."""
        if stage.stepped:
            yield from self._track(stage).findings()

    def _track(self, stage: Stage) -> stepping.Track:
        if stage.name not in self._tracks:
            self._tracks[stage.name] = stepping.Track(stage, self.golden[stage.name])
        return self._tracks[stage.name]


class Free:
    """The chain as the user has it, on anything: its decisions stand, and what nothing goes on with does not run."""

    def __init__(self, system: System, tables: Arrays, execute: Execute) -> None:
        self.system, self.tables, self._execute = system, tables, execute
        self._decided: Decided = defaultdict(list)

    def __call__(self, stage: str, inputs: Arrays) -> Mapping[str, np.ndarray]:
        return {} if self.system.stage(stage).aside else self._execute(stage, inputs)

    def decide(self, stage: str, name: str, value: np.ndarray) -> np.ndarray:
        if stage == HOST:
            # A copy, for a view would hold on to all that a step gave.
            self._decided[stage, name].append(value.copy())
        return value

    @property
    def own(self) -> dict[str, np.ndarray]:
        return _own(self._decided)


def _own(decided: Decided) -> dict[str, np.ndarray]:
    """Return the decisions of the host beside the stages, all calls together."""
    return {name: np.concatenate(values) for (owner, name), values in decided.items() if owner == HOST}


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
    return stepping.derived(stage, golden, step)[name]


class Rehearsal:
    """The glue with stages that give exactly what upstream gave: then all that it makes has to be upstream's, to the
    bit; what it sums, to rounding."""

    def __init__(self, system: System, golden: Golden, tables: Arrays) -> None:
        self.system, self.golden, self.tables = system, golden, tables
        self._steps: dict[str, Iterator[Crossing]] = {}
        self._made: Counter[str] = Counter()
        self._decided: Decided = defaultdict(list)
        self._faults: dict[tuple[str, str], str] = {}

    def __call__(self, stage: str, inputs: Arrays) -> Mapping[str, np.ndarray]:
        crossing, where = self._next(self.system.stage(stage))
        for name in dict.fromkeys((*crossing.inputs, *inputs)):
            if name not in inputs or name not in crossing.inputs:
                fault = "is not given" if name not in inputs else "is given, and upstream has no such input"
            elif not (_near if name in self.system.sums else _same)(inputs[name], crossing.inputs[name]):
                fault = f"the host made {difference(inputs[name], crossing.inputs[name])}"
            else:
                continue
            self._faults.setdefault((stage, name), f"{fault}{where}")
        return dict(crossing.outputs)

    def decide(self, stage: str, name: str, value: np.ndarray) -> np.ndarray:
        self._decided[stage, name].append(value)
        truth = truly(self.system, self.golden, stage, name, self._decided[stage, name])
        ours, theirs = value, truth
        if stage == HOST and (declared := self.system.decisions.get(name)) and declared.kind == "kept":
            # What a cache keeps is a set, row by row. Of two copies of a frame, either may have been chosen first.
            ours, theirs = np.sort(value), np.sort(truth)
        if not _same(ours, theirs):
            fault = f"the host decides {difference(ours, theirs)}{self._when(stage, name)}, on upstream's values"
            self._faults.setdefault((stage, name), fault)
        return truth

    def faults(self) -> Iterator[Finding]:
        """Yield the values that the host makes otherwise, in the order in which they arose: later ones may follow."""
        for (owner, name), fault in self._faults.items():
            yield Finding(f"{owner}.{name}", "glue", False, message=fault)

    def findings(self) -> Iterator[Finding]:
        """Yield the faults, whether all ran as often as upstream's, and what the host made as upstream has it.

        Where a loop ends early, that is one finding, of the first stage in it.
        """
        yield from self.faults()
        counts = self._counts()
        early = self._early(counts)
        for name, (made, wanted) in counts.items():
            rows = name.startswith(f"{HOST}.")
            if made == wanted:
                said = f"{made} rows decided, as upstream" if rows else f"run {made} times, as upstream"
            elif name in early[1:]:
                continue
            else:
                ours, times = ("the host decides", "") if rows else ("the host runs it", " times")
                said = f"{ours} {made}{times or ' rows'}, upstream {wanted}{times}"
                if name in early and early[1:]:
                    said += "; with it " + ", ".join(f"{other} {counts[other][0]}" for other in early[1:])
            yield Finding(name, "glue", made == wanted, message=said)
        for stage in self.system.stages:
            for name in (*stage.inputs, *stage.derived):
                if (stage.name, name) not in self._faults:
                    message = "made by the host as upstream has it"
                    yield Finding(f"{stage.name}.{name}", "glue", True, message=message)

    def _counts(self) -> dict[str, tuple[int, int]]:
        """Return how often each stage ran, and how many rows were decided, by the host and by upstream."""
        runs = {f"{stage.name}.steps": (self._made[stage.name], self._wanted(stage)) for stage in self.system.stages}
        decided = {name: sum(map(len, self._decided[HOST, name])) for name in self.system.decisions}
        rows = {f"{HOST}.{name}": (made, len(self.golden[HOST].outputs[name])) for name, made in decided.items()}
        return {**runs, **rows}

    def _early(self, counts: Mapping[str, tuple[int, int]]) -> list[str]:
        """Return what is short because a loop ended early."""
        once = {f"{stage.name}.steps" for stage in self.system.stages if not stage.stepped}
        short = [name for name, (made, wanted) in counts.items() if made < wanted and name not in once]
        return short if short and not short[0].startswith(f"{HOST}.") else []

    def _wanted(self, stage: Stage) -> int:
        return stepping.count(stage, self.golden[stage.name]) if stage.stepped else 1

    def _when(self, stage: str, name: str) -> str:
        """Return the step of the last decision, or its rows."""
        made = self._decided[stage, name]
        if stage == HOST:
            first, count = sum(map(len, made[:-1])), len(made[-1])
            return f" in row {first}" if count == 1 else f" in rows {first} to {first + count - 1}"
        declared = self.system.stage(stage)
        return f" at step {len(made) - 1} of {self._wanted(declared)}" if declared.stepped else ""

    def _next(self, stage: Stage) -> tuple[Crossing, str]:
        self._made[stage.name] += 1
        golden, made = self.golden[stage.name], self._made[stage.name]
        if not stage.stepped:
            return Crossing(golden.inputs, golden.outputs), ""
        crossing = next(self._steps.setdefault(stage.name, stepping.crossings(stage, golden)), None)
        total = stepping.count(stage, golden)
        if crossing is None:
            raise ValueError(f"{stage.name}: the host runs a {made}th step, upstream made {total}")
        return crossing, f" at step {made - 1} of {total}"


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


def _near(one: np.ndarray, other: np.ndarray) -> bool:
    """Compare up to a few units in the last place of the largest value, because libraries add in different orders."""
    if one.dtype != other.dtype or one.shape != other.shape or not np.isfinite(other).all():
        return _same(one, other)
    room = _ULPS * float(np.finfo(other.dtype).eps) * float(np.abs(other).max(initial=0))
    return np.allclose(one, other, rtol=0, atol=room)


def difference(value: np.ndarray, truth: np.ndarray) -> str:
    """Return what sets a value of the host apart from upstream's.

    Args:
        value: The value that the host made.
        truth: Upstream's.
    """
    if value.dtype != truth.dtype:
        return f"{value.dtype} where upstream has {truth.dtype}"
    if value.shape != truth.shape:
        return f"shape {value.shape} where upstream has {truth.shape}"
    for axis in range(value.ndim):
        if order := _order(value, truth, axis):
            return f"upstream's values in another order along axis {axis}: {order}"
    both_nan = (value != value) & (truth != truth)
    differ = np.argwhere((value != truth) & ~both_nan)
    named = [_at(tuple(index), value, truth) for index in differ[:_FEW].tolist()]
    return f"{', '.join(named)}{_more(len(differ))}" + (f" of {value.size} values" if len(differ) > _FEW else "")


def _order(value: np.ndarray, truth: np.ndarray, axis: int) -> str:
    """Return the order that the slices along an axis are in, if these are upstream's; else an empty text."""
    ours, theirs = (np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1) for array in (value, truth))
    if len(ours) < 2 or not ours.shape[1]:
        return ""
    sorted_ours, sorted_theirs = (np.lexsort(rows.T[::-1]) for rows in (ours, theirs))
    if not np.array_equal(ours[sorted_ours], theirs[sorted_theirs]):
        return ""
    source = np.empty(len(ours), np.int64)
    source[sorted_ours] = sorted_theirs
    moved = np.flatnonzero((ours != theirs).any(axis=1))
    return ", ".join(f"{place} is {source[place]}" for place in moved[:_FEW].tolist()) + _more(len(moved))


def _more(count: int) -> str:
    return f" and {count - _FEW} more" if count > _FEW else ""


def _at(index: tuple[int, ...], value: np.ndarray, truth: np.ndarray) -> str:
    where = f" at {index[0] if len(index) == 1 else index}" if value.size > 1 else ""
    return f"{_number(value[index])} where upstream has {_number(truth[index])}{where}"


def _number(value: np.generic) -> str:
    return f"{value:.9g}" if isinstance(value, np.floating) else str(value)
