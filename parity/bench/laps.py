"""One run of a system's chain, timed stage by stage: each artifact, and right beside it the same stage in PyTorch.

The stages are timed on what the stages before them gave, as deployed, so that the chain's time is the sum of theirs and
of the host's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from parity.bench.timing import Clock, in_turns, steadied
from parity.compare import evidence
from parity.compare.outputs import crossings
from parity.declarations import AUDIBLE, Arrays, Case, Dim, Golden, Stage, System, Variant
from parity.judge.workbench import Workbench
from parity.plan.checks import CHAIN, SHIPS, chain_sets
from parity.run.chain import Chain
from parity.run.stage import cast
from parity.verdict import Finding


@dataclass
class Lap:
    """Seconds in the artifacts, in PyTorch, in the `rivals` of each stage's artifact, and in the host glue; the sizes
    and the audio that went through.

    `steps` has each step of a stage that makes many, `first_audio` what the artifacts took until there was audio.
    """

    artifact: dict[str, float] = field(default_factory=dict)
    eager: dict[str, float] = field(default_factory=dict)
    rivals: dict[str, dict[str, float]] = field(default_factory=dict)
    host: float = 0.0
    sizes: dict[str, int] = field(default_factory=dict)
    heard: dict[str, int] = field(default_factory=dict)
    steps: dict[str, list[float]] = field(default_factory=dict)
    first_audio: float | None = None
    aside: frozenset[str] = frozenset()
    run: Chain | None = None

    @property
    def chain(self) -> float:
        return self.along(self.artifact) + self.host

    @property
    def eager_chain(self) -> float:
        return self.along(self.eager) + self.host

    def along(self, spent: Mapping[str, float]) -> float:
        """What the stages on the path took."""
        return sum(seconds for name, seconds in spent.items() if name not in self.aside)


class Track:
    """Where the laps of one system are run: its loaded artifacts, by stage and variant, and beside them its modules
    where there is a peer."""

    def __init__(self, bench: Workbench, sessions: Mapping[tuple[str, str], Any], peer: bool, clock: Clock) -> None:
        self.bench, self.sessions, self.clock = bench, sessions, clock
        self.modules = {stage.name: bench.module(stage) for stage in bench.system.stages} if peer else {}

    def lap(self, case: Case, golden: Golden, number: int) -> Lap:
        system, away = self.bench.system, 0.0
        lap = Lap(aside=frozenset(stage.name for stage in system.stages if stage.aside))

        def execute(name: str, inputs: Arrays) -> dict[str, np.ndarray]:
            nonlocal away
            began = self.clock()
            outputs = self._cross(lap, system.stage(name), inputs, number)
            away += self.clock() - began
            return outputs

        lap.run = Chain(system, golden, self.bench.tables(case), execute, lambda stage, inputs: inputs)
        began = self.clock()
        system.chain(lap.run, case)
        if left := [stage.name for stage in system.stages if stage.name not in lap.artifact]:
            raise ValueError(f"{system.name}, case {case.name}: the chain never ran {', '.join(left)}: mend its glue")
        lap.host = max(self.clock() - began - away, 0.0)
        return lap

    def _cross(self, lap: Lap, stage: Stage, inputs: Arrays, number: int) -> dict[str, np.ndarray]:
        outputs: dict[str, np.ndarray] = {}

        def artifact(variant: Variant, made: dict[str, np.ndarray]) -> float:
            session = self.sessions[stage.name, variant.name]
            made.update(session.run(cast(stage, variant, inputs)))
            return float(session.run_seconds)

        others = rivals(stage)
        contenders: list[Callable[[], float]] = [partial(artifact, stage.shipping, outputs)]
        contenders += [partial(artifact, variant, {}) for variant in others]
        if self.modules:
            contenders.append(self._eager(stage, inputs))
        # A stage of many steps is steady by their number.
        runs = contenders if stage.stepped else [partial(steadied, contender) for contender in contenders]
        took = in_turns(runs, number)
        beside = lap.rivals.setdefault(stage.name, {})
        for spent, name, seconds in (
            (lap.artifact, stage.name, took[0]),
            *((beside, variant.name, took[1 + i]) for i, variant in enumerate(others)),
            *((lap.eager, stage.name, seconds) for seconds in took[1 + len(others) :]),
        ):
            spent[name] = spent.get(name, 0.0) + seconds
        if stage.stepped:
            lap.steps.setdefault(stage.name, []).append(took[0])
        if lap.first_audio is None and _audio(stage, "outputs"):
            lap.first_audio = lap.along(lap.artifact)
        _note_sizes(lap, stage, inputs, outputs)
        return outputs

    def _eager(self, stage: Stage, inputs: Arrays) -> Callable[[], float]:
        """The traceable module on the same inputs, which it takes in fp32."""
        import torch

        module = self.modules[stage.name]
        tensors = [torch.from_numpy(_wide(inputs[name])) for name in stage.inputs]

        def run() -> float:
            with torch.inference_mode():
                began = self.clock()
                module(*tensors)
                return self.clock() - began

        return run


def rivals(stage: Stage) -> list[Variant]:
    """What computes as the shipping artifact does, and keeps its weights otherwise: whole, palettized, quantized."""
    ships = stage.shipping
    return [
        variant
        for variant in stage.variants
        if variant != ships and (variant.precision, variant.holds) == (ships.precision, ships.holds)
    ]


class Scrutiny:
    """Whether what was timed is what the gates let pass: a fast artifact that computes something else is no progress.

    Every lap's outputs are looked at; those that are the bits of an earlier lap, as they nearly always are, have that
    lap's verdict.
    """

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        self._known: dict[str, tuple[Finding, ...]] = {}

    def faults(self, lap: Lap) -> tuple[Finding, ...]:
        assert lap.run is not None
        key = _digest(lap.run)
        if key not in self._known:
            found = [finding for finding in self._judge(lap.run) if not finding.passed]
            self._known[key] = tuple(found)
        return self._known[key]

    def _judge(self, run: Chain) -> list[Finding]:
        system = self.bench.system
        compared = list(crossings(system, run, chain_sets(system)[SHIPS], self.bench.runtime.numerics))
        findings, values = evidence.measure(compared, system.reference.sample_rate)
        findings += self.bench.judged(CHAIN, SHIPS, values)
        if not findings:
            raise ValueError(f"{system.name}: the chain gave nothing to judge, so its speed says nothing")
        return findings


def t_enc(system: System, sizes: Mapping[str, int]) -> int:
    """The size of what goes in: the first dynamic dimension of the first stage; 0 where nothing is dynamic."""
    for tensor in system.stages[0].inputs.values():
        for size in tensor.shape:
            if isinstance(size, Dim):
                return sizes.get(size.name, 0)
    return 0


def audio_seconds(system: System, lap: Lap) -> float:
    """What was spoken; of a system that only listens, what it heard, or says something of."""
    if lap.run is not None and (
        rated := [(name, tensor.rate) for name, tensor in system.decisions.items() if tensor.rate]
    ):
        name, rate = rated[0]
        return len(lap.run.own[name]) / (rate or 1.0)
    for sides in ("outputs", "inputs"):
        for stage in reversed(system.stages):
            places = [f"{stage.name}.{name}" for name in _audio(stage, sides)]
            if samples := [lap.heard[place] for place in places if place in lap.heard]:
                return max(samples) / system.reference.sample_rate
    return 0.0


def _audio(stage: Stage, side: str) -> list[str]:
    declared = stage.outputs if side == "outputs" else stage.inputs
    return [name for name, tensor in declared.items() if tensor.kind in AUDIBLE]


def _note_sizes(lap: Lap, stage: Stage, inputs: Arrays, outputs: Arrays) -> None:
    for declared, arrays in ((stage.inputs, inputs), (stage.outputs, outputs)):
        for name, tensor in declared.items():
            if name in arrays:
                tensor.bind(arrays[name].shape, lap.sizes)
                if tensor.kind in AUDIBLE:
                    place = f"{stage.name}.{name}"
                    lap.heard[place] = lap.heard.get(place, 0) + arrays[name].size


def _wide(value: np.ndarray) -> np.ndarray:
    return value.astype(np.float32) if value.dtype == np.float16 else np.ascontiguousarray(value)


def _digest(run: Chain) -> str:
    """Of everything that was computed or decided."""
    digest = hashlib.sha256()
    for stage in run.system.stages:
        for part, arrays in (("out", run.outputs(stage)), ("decided", run.decisions(stage))):
            for name in sorted(arrays):
                value = np.ascontiguousarray(arrays[name])
                digest.update(f"{stage.name} {part} {name} {value.dtype} {value.shape}\n".encode())
                digest.update(value.data)
    for name, value in run.own.items():
        digest.update(f"{name} {value.dtype} {value.shape}\n".encode() + np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()
