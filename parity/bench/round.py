"""One run of a system's chain: the seconds of each stage and of the host, the sizes in it, and what it computed."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from parity.compare import evidence
from parity.compare.modes import chain_outputs
from parity.declarations import AUDIBLE, Arrays, Stage, System, Tensor, Variant
from parity.judge.workbench import Workbench
from parity.plan.checks import CHAIN
from parity.run.chain import Chain
from parity.verdict import Finding

EAGER = "eager"
Compared = tuple[list[Finding], dict[str, dict[str, float]]]
"""One set of outputs against upstream's: the contract, and the metrics of each output."""


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

    def note(self, stage: Stage, inputs: Arrays, outputs: Arrays) -> None:
        """Note the sizes of what a stage took and gave, and when there was audio first."""
        if self.first_audio is None and _audible(stage.outputs):
            self.first_audio = sum(times.seconds for times in self.path.values())
        for declared, arrays in ((stage.inputs, inputs), (stage.outputs, outputs)):
            for name, tensor in declared.items():
                if name in arrays:
                    tensor.bind(arrays[name].shape, self.sizes)
            for name in _audible(declared):
                if name in arrays:
                    place = f"{stage.name}.{name}"
                    self.samples[place] = self.samples.get(place, 0) + arrays[name].size

    def heard(self, run: Chain) -> float:
        """Return the seconds of speech; for a system that only listens, the seconds that it heard or decided on."""
        for name, tensor in self.system.decisions.items():
            if tensor.rate:
                return len(run.own[name]) / tensor.rate
        for side in ("outputs", "inputs"):
            for stage in reversed(self.system.stages):
                names = [f"{stage.name}.{name}" for name in _audible(getattr(stage, side))]
                if counted := [self.samples[name] for name in names if name in self.samples]:
                    return max(counted) / self.system.reference.sample_rate
        return 0.0


def compare(bench: Workbench, run: Chain, stages: Collection[str]) -> Compared:
    """Compare the outputs of the stages that ran."""
    system, ships = bench.system, bench.deployed
    ran = replace(system, stages=tuple(stage for stage in system.stages if stage.name in stages))
    compared = list(chain_outputs(ran, run, ships.variants, bench.runtime.numerics))
    contract, values = evidence.measure(compared, system.reference.sample_rate, bench.asked(CHAIN, ships.name))
    if not contract and not values:
        raise ValueError(f"{system.name}: the chain gave no output to judge, so its speed says nothing")
    return contract, values


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


def _audible(declared: Mapping[str, Tensor]) -> list[str]:
    return [name for name, tensor in declared.items() if tensor.kind in AUDIBLE]
