"""The host glue at work with the artifacts, as deployed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from parity.declarations import HOST, Arrays, Golden, Seam, Stage, System
from parity.run import stepping
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
            self._track(declared).add(inputs, outputs, {})
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
            return self._track(stage).outputs
        return dict(self._crossed[stage.name].outputs) if stage.name in self._crossed else {}

    def decisions(self, stage: Stage) -> dict[str, np.ndarray]:
        """Return the host's decisions at a stage, in their own shape, or in that of all steps."""
        made = self._decided.get(stage.name, {})
        return {name: np.stack(values) if name in stage.derived else values[-1] for name, values in made.items()}

    @property
    def own(self) -> dict[str, np.ndarray]:
        """The decisions of the host beside the stages, all calls together."""
        return {name: np.concatenate(values) for name, values in self._decided.get(HOST, {}).items()}

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
