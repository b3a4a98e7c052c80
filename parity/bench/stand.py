"""One system on the bench: loads what ships, runs its chain in laps, and keeps what they took."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from parity.bench.laps import Lap, Scrutiny, Track, audio_seconds, rivals, t_enc
from parity.bench.machine import THREADS
from parity.bench.timing import Clock, Effort, Timing, rounds, undisturbed
from parity.declarations import Case, Stage, System, Variant
from parity.judge.budgets import DEVICE
from parity.judge.workbench import Workbench
from parity.plan.checks import CHAIN
from parity.run.placement import Placement, placement
from parity.verdict import Finding

LOADS = 3
MEGABYTE = 1e6


@dataclass(frozen=True)
class Cold:
    """Loads of a stage from scratch, the first in this process first, and what the first run behind that took."""

    loads: tuple[float, ...]
    first_run: float


@dataclass(frozen=True)
class Steps:
    """The steps of one stage in one case. `growth` is what a step costs in the last quarter against the first: where a
    cache fills, it tells."""

    count: int
    milliseconds: float
    growth: float

    @staticmethod
    def of(laps: Sequence[Sequence[float]]) -> Steps:
        each = np.median(np.array(laps), axis=0)
        quarter = max(1, len(each) // 4)
        first, last = np.median(each[:quarter]), np.median(each[-quarter:])
        return Steps(len(each), 1e3 * float(np.median(each)), float(last / first))


@dataclass(frozen=True)
class Measured:
    """One case: its sizes, what each stage and the chain took, and what is wrong with what they computed."""

    system: str
    case: str
    sizes: Mapping[str, int]
    t_enc: int
    audio_seconds: float
    timings: Mapping[str, Timing]
    faults: tuple[Finding, ...]
    steps: Mapping[str, Steps] = field(default_factory=dict)
    first_audio_ms: float | None = None
    rivals: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By stage and variant, what it takes against the one that ships, in the same rounds."""

    @property
    def rtfx(self) -> float:
        """Seconds of audio per second."""
        return 1e3 * self.audio_seconds / self.timings[CHAIN].milliseconds


class Stand:
    """Nothing is loaded before it is asked for, and nothing is measured twice."""

    def __init__(
        self,
        bench: Workbench,
        cases: tuple[Case, ...],
        effort: Effort | None = None,
        clock: Clock = time.perf_counter,
        plan: Callable[..., Placement] = placement,
    ) -> None:
        self.bench, self.cases, self.clock, self.plan = bench, cases, clock, plan
        self.effort = effort or Effort()
        self.sessions: dict[tuple[str, str], Any] = {}
        self._measured: dict[str, Measured] = {}

    @property
    def system(self) -> System:
        return self.bench.system

    @property
    def peer(self) -> bool:
        """Where times alone say nothing, for any machine may run this, PyTorch runs beside it."""
        return self.bench.runtime.name not in DEVICE

    @cached_property
    def cold(self) -> dict[str, Cold]:
        """Loads everything. The first of these laps is the cold one, and counted nowhere else."""
        loads = {}
        with undisturbed(THREADS):
            for stage in self.system.stages:
                first = self.sessions[stage.name, stage.shipping.name] = self._load(stage, stage.shipping)
                loads[stage.name] = [first.load_seconds]
                for _ in range(LOADS - 1):
                    again = self._load(stage, stage.shipping)
                    loads[stage.name].append(again.load_seconds)
                    again.close()
                for variant in rivals(stage):
                    self.sessions[stage.name, variant.name] = self._load(stage, variant)
            lap = self._track.lap(self.cases[0], self.bench.goldens.load(self.cases[0]), 0)
        return {name: Cold(tuple(seconds), lap.artifact[name]) for name, seconds in loads.items()}

    def measured(self, case: Case) -> Measured:
        if case.name not in self._measured:
            self._measured[case.name] = self._measure(case)
        return self._measured[case.name]

    @property
    def is_loaded(self) -> bool:
        return "cold" in self.__dict__

    @property
    def so_far(self) -> tuple[Measured, ...]:
        return tuple(self._measured.values())

    def package(self, stage: Stage, variant: Variant | None = None) -> Path:
        return self.bench.artifacts.get(stage, variant or stage.shipping).package

    def megabytes(self, stage: Stage, variant: Variant | None = None) -> float:
        files = [path for path in self.package(stage, variant).rglob("*") if path.is_file()]
        return sum(path.stat().st_size for path in files) / MEGABYTE

    def placement(self, stage: Stage) -> Placement:
        return self.plan(self.package(stage), self.bench.compute_units or stage.units(stage.shipping))

    def close(self) -> None:
        for session in self.sessions.values():
            session.close()
        self.sessions.clear()

    def _load(self, stage: Stage, variant: Variant) -> Any:
        return self.bench.session(stage, variant)

    @cached_property
    def _track(self) -> Track:
        return Track(self.bench, self.sessions, self.peer, self.clock)

    @cached_property
    def _scrutiny(self) -> Scrutiny:
        return Scrutiny(self.bench)

    def _measure(self, case: Case) -> Measured:
        assert self.cold
        golden = self.bench.goldens.load(case)
        faults: dict[Finding, None] = {}

        heard: list[float] = []

        def lap(number: int) -> Lap:
            made = self._track.lap(case, golden, number)
            faults.update(dict.fromkeys(self._scrutiny.faults(made)))
            heard.append(audio_seconds(self.system, made))
            made.run = None
            return made

        with undisturbed(THREADS):
            laps = rounds(lap, self.effort, self.clock)
        timings = {stage.name: _timing(laps, stage.name, self.peer) for stage in self.system.stages}
        chain_peer = tuple(lap.eager_chain for lap in laps) if self.peer else ()
        timings[CHAIN] = Timing(tuple(lap.chain for lap in laps), chain_peer)
        sizes = laps[0].sizes
        steps = {name: Steps.of([lap.steps[name] for lap in laps]) for name in laps[0].steps}
        waits = [lap.first_audio for lap in laps if lap.first_audio is not None]
        return Measured(
            self.system.name,
            case.name,
            sizes,
            t_enc(self.system, sizes),
            heard[0],
            timings,
            tuple(faults),
            steps,
            1e3 * statistics.median(waits) if waits and steps else None,
            {stage.name: _beside(laps, stage.name) for stage in self.system.stages if rivals(stage)},
        )


def _beside(laps: list[Lap], stage: str) -> dict[str, float]:
    return {
        variant: statistics.median(lap.rivals[stage][variant] / lap.artifact[stage] for lap in laps)
        for variant in laps[0].rivals[stage]
    }


def _timing(laps: list[Lap], stage: str, peer: bool) -> Timing:
    eager = tuple(lap.eager[stage] for lap in laps) if peer else ()
    return Timing(tuple(lap.artifact[stage] for lap in laps), eager)
