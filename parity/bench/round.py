"""One run of a system's chain, timed stage by stage: each artifact, and beside it the same stage in PyTorch.

The stages are timed on what the stages before them gave, as deployed, so that the chain's time is the sum of theirs and
of the host's. The outputs are judged by the gates: the speed of an artifact with wrong outputs means nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np

from parity.bench.timing import Clock, in_turns, steadied
from parity.compare import evidence
from parity.compare.modes import chain_outputs
from parity.declarations import AUDIBLE, Arrays, Case, Golden, Stage, System, Tensor, Variant
from parity.judge.budgets import ANYWHERE
from parity.judge.workbench import Workbench
from parity.plan.checks import CHAIN
from parity.run.chain import Chain
from parity.run.runtime import Crosser, fitting
from parity.verdict import Finding

EAGER = "eager"
WITHIN = frozenset({"milrun"})
"""Runtimes that compute in one thread of this process."""
Timed = tuple[float, dict[str, np.ndarray]]
"""The seconds of one run of a stage, and its outputs."""


@dataclass
class StageTimes:
    """The seconds of each step of a stage (of a stage without steps, of its one run), and `beside` some of them those
    of everything that ran in turns with the artifact: by variant, and as `EAGER`. `bucket`: that of the last step."""

    steps: list[float] = field(default_factory=list)
    beside: list[Mapping[str, float]] = field(default_factory=list)
    bucket: int | None = None

    @property
    def seconds(self) -> float:
        return sum(self.steps)

    def ratios(self, one: str, other: str) -> list[float]:
        return [taken[one] / taken[other] for taken in self.beside if one in taken and other in taken]


@dataclass
class Round:
    """The times of one run of the chain: of its stages and of the host glue; the sizes and the audio in it.

    `first_audio` is what the artifacts took until there was audio.
    """

    system: System
    ships: Mapping[str, Variant]
    stages: dict[str, StageTimes] = field(default_factory=dict)
    host: float = 0.0
    sizes: dict[str, int] = field(default_factory=dict)
    samples: dict[str, int] = field(default_factory=dict)
    audio_seconds: float = 0.0
    first_audio: float | None = None

    @property
    def path(self) -> dict[str, StageTimes]:
        """The stages whose times are the chain's."""
        return {name: times for name, times in self.stages.items() if not self.system.stage(name).aside}

    @property
    def chain(self) -> float:
        return sum(times.seconds for times in self.path.values()) + self.host

    def ratios(self, stage: str) -> list[float]:
        """Return the time of a stage against PyTorch, once for each sample; of the chain, as often as for the stage
        with most samples."""
        if stage != CHAIN:
            return self.stages[stage].ratios(self.ships[stage].name, EAGER)
        ratios = {name: self.ratios(name) for name in self.path}
        if not all(ratios.values()):
            return []
        return [
            self.chain / (sum(self.path[name].seconds / of[index % len(of)] for name, of in ratios.items()) + self.host)
            for index in range(max(map(len, ratios.values())))
        ]


@dataclass(frozen=True)
class Compared:
    """One set of outputs against upstream's: the contract, and the metrics of each output."""

    contract: tuple[Finding, ...]
    values: Mapping[str, Mapping[str, float]]

    def faults(self, bench: Workbench) -> Iterator[Finding]:
        for finding in (*self.contract, *bench.judged(CHAIN, bench.deployed.name, self.values)):
            if not finding.passed:
                yield finding


class ChainTimer:
    """Runs the chain of one system in rounds.

    Args:
        artifact: Gives the loaded artifact of a stage and a variant.
        timed: The stages to compare. Those beside the path that are not among them do not run at all.
        beside: Whether to time the other variants that could ship.
    """

    def __init__(
        self,
        bench: Workbench,
        artifact: Callable[[Stage, Variant], Crosser],
        timed: Collection[str],
        clock: Clock,
        beside: bool,
    ) -> None:
        self.bench, self.artifact, self.timed, self.clock, self.beside = bench, artifact, timed, clock, beside
        self.first_runs: dict[str, float] = {}
        aside = {stage.name for stage in bench.system.stages if stage.aside}
        self.left_out = aside.difference(timed)

    @property
    def peer(self) -> bool:
        """True to time eager PyTorch alongside. Absolute times are not comparable across machines; ratios are."""
        return self.bench.runtime.name in ANYWHERE

    def waited(self) -> float:
        """Return the seconds that do not count. Where work runs in other processes, all seconds count."""
        return self.clock.waited() if self.bench.runtime.name in WITHIN else 0.0

    def now(self) -> float:
        return self.clock() - self.waited()

    def round(self, case: Case, golden: Golden, number: int, every: Mapping[str, int]) -> tuple[Round, Chain]:
        """Run the chain once; return its times, and all that it computed.

        Others run beside the stages that `every` names, at steps of this distance.
        """
        system, away = self.bench.system, 0.0
        made = Round(system, self.bench.deployed.variants)

        def execute(name: str, inputs: Arrays) -> dict[str, np.ndarray]:
            nonlocal away
            began = self.now()
            outputs = self._run(made, system.stage(name), inputs, number, every)
            away += self.now() - began
            return outputs

        run = _Selected(system, golden, self.bench.tables(case), execute, lambda stage, inputs: inputs)
        run.left_out = self.left_out
        began = self.now()
        system.chain(run, case)
        if never := [stage.name for stage in system.stages if stage.name not in {*made.stages, *self.left_out}]:
            raise ValueError(f"{system.name}, case {case.name}: the chain never ran {', '.join(never)}: mend its glue")
        made.host = max(self.now() - began - away, 0.0)
        made.audio_seconds = _audio_seconds(made, run)
        return made, run

    def _run(
        self, made: Round, stage: Stage, inputs: Arrays, number: int, every: Mapping[str, int]
    ) -> dict[str, np.ndarray]:
        """Run a stage, in turns with what it is compared with, and give the outputs of the artifact that ships."""
        times, ships = made.stages.setdefault(stage.name, StageTimes()), made.ships[stage.name]
        runs: dict[str, Callable[[], Timed]] = {ships.name: partial(self._artifact, stage, ships, inputs)}
        compared = stage.name in self.timed and stage.name in every and len(times.steps) % every[stage.name] == 0
        if compared:
            others = alternatives(stage, ships) if self.beside else []
            runs |= {variant.name: partial(self._artifact, stage, variant, inputs) for variant in others}
            runs |= {EAGER: self._eager(stage, inputs)} if self.peer else {}
        if not stage.stepped:  # a stage of many steps is steady by their number
            runs = {name: partial(steadied, run) for name, run in runs.items()}
        done = in_turns(runs, number + len(times.beside))
        seconds, outputs = done[ships.name]
        times.steps.append(seconds)
        if compared:
            times.beside.append({name: taken for name, (taken, _) in done.items()})
        if made.first_audio is None and _audible(stage.outputs):
            made.first_audio = sum(of.seconds for of in made.path.values())
        _note_sizes(made, stage, inputs, outputs)
        if stage.stepped:
            times.bucket = fitting(stage, inputs).bucket
        return outputs

    def _artifact(self, stage: Stage, variant: Variant, inputs: Arrays) -> Timed:
        artifact, began = self.artifact(stage, variant), self.waited()
        outputs = artifact(inputs)
        seconds = float(artifact.session.run_seconds) - (self.waited() - began)
        if variant == self.bench.deployed.variants[stage.name]:
            self.first_runs.setdefault(stage.name, seconds)
        return seconds, outputs

    def _eager(self, stage: Stage, inputs: Arrays) -> Callable[[], Timed]:
        """Run the traceable module on the same inputs, in fp32."""
        import torch

        module = self._modules[stage.name]
        given = [inputs[name] for name in stage.inputs]
        wide = [np.array(x, np.float32 if x.dtype == np.float16 else x.dtype, order="C") for x in given]
        tensors = [torch.from_numpy(x) for x in wide]

        def run() -> Timed:
            with torch.inference_mode():
                began = self.now()
                module(*tensors)
                return self.now() - began, {}

        return run

    @cached_property
    def _modules(self) -> dict[str, Callable[..., object]]:
        return {name: self.bench.module(self.bench.system.stage(name)) for name in sorted(self.timed)}


class _Selected(Chain):
    """A chain in which some stages beside the path do not run."""

    left_out: Collection[str] = ()

    def __call__(self, stage: str, inputs: Arrays) -> Mapping[str, np.ndarray]:
        return {} if stage in self.left_out else super().__call__(stage, inputs)


def compare(bench: Workbench, run: Chain, stages: Collection[str]) -> Compared:
    """Compare the outputs of the stages that ran."""
    system, ships = bench.system, bench.deployed
    ran = replace(system, stages=tuple(stage for stage in system.stages if stage.name in stages))
    compared = list(chain_outputs(ran, run, ships.variants, bench.runtime.numerics))
    contract, values = evidence.measure(compared, system.reference.sample_rate, bench.asked(CHAIN, ships.name))
    if not contract and not values:
        raise ValueError(f"{system.name}: the chain gave no output to judge, so its speed says nothing")
    return Compared(tuple(contract), values)


def digest(run: Chain, stages: Collection[str]) -> str:
    """Return a digest of everything that was computed or decided."""
    found = hashlib.sha256()
    computed: list[tuple[str, Arrays]] = [("host", run.own)]
    for stage in map(run.system.stage, stages):
        computed += [(f"{stage.name} out", run.outputs(stage)), (f"{stage.name} decided", run.decisions(stage))]
    for place, arrays in computed:
        for name in sorted(arrays):
            value = np.ascontiguousarray(arrays[name])
            found.update(f"{place} {name} {value.dtype} {value.shape}\n".encode())
            found.update(value.tobytes())
    return found.hexdigest()


def alternatives(stage: Stage, ships: Variant) -> list[Variant]:
    """Return the variants that compute as the shipping one does, with other weights: whole, palettized, quantized."""

    def way(variant: Variant) -> tuple[object, ...]:
        return variant.format, variant.precision, variant.holds

    return [variant for variant in stage.variants if variant != ships and way(variant) == way(ships)]


def _audio_seconds(made: Round, run: Chain) -> float:
    """Return the seconds of speech; for a system that only listens, the seconds that it heard or decided on."""
    system = made.system
    for name, tensor in system.decisions.items():
        if tensor.rate:
            return len(run.own[name]) / tensor.rate
    for side in ("outputs", "inputs"):
        for stage in reversed(system.stages):
            names = [f"{stage.name}.{name}" for name in _audible(getattr(stage, side))]
            if counted := [made.samples[name] for name in names if name in made.samples]:
                return max(counted) / system.reference.sample_rate
    return 0.0


def _audible(declared: Mapping[str, Tensor]) -> list[str]:
    return [name for name, tensor in declared.items() if tensor.kind in AUDIBLE]


def _note_sizes(made: Round, stage: Stage, inputs: Arrays, outputs: Arrays) -> None:
    for declared, arrays in ((stage.inputs, inputs), (stage.outputs, outputs)):
        for name, tensor in declared.items():
            if name in arrays:
                tensor.bind(arrays[name].shape, made.sizes)
        for name in _audible(declared):
            if name in arrays:
                place = f"{stage.name}.{name}"
                made.samples[place] = made.samples.get(place, 0) + arrays[name].size
