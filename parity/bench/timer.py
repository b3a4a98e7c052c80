"""One system, timed: loads what ships, runs its chain in rounds, and keeps what they took."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from parity.base.fingerprint import code, digest
from parity.bench.machine import THREADS
from parity.bench.outputs import Compared, Outputs
from parity.bench.record import StepTimes
from parity.bench.round import ChainTimer, Round, alternatives, t_enc
from parity.bench.timing import Clock, Effort, Timing, rounds, undisturbed
from parity.declarations import Case, Stage, System, Variant
from parity.judge.budgets import ANYWHERE
from parity.judge.workbench import Workbench
from parity.plan.checks import CHAIN
from parity.run import Session

LOADS = 3
COMPARED = 16
"""Steps of one round at which others run beside the artifact: each gives a sample, and more would add nothing."""
LONGER = 3


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One case of one system: its sizes, the times of each stage and of the chain, and the outputs beside upstream's.

    `alternatives` has, by stage and variant, the time of a variant against that of the one that ships.
    """

    case: str
    sizes: Mapping[str, int]
    t_enc: int
    audio_seconds: float
    timings: Mapping[str, Timing]
    compared: tuple[Compared, ...]
    steps: Mapping[str, StepTimes] = field(default_factory=dict)
    first_audio_ms: float | None = None
    alternatives: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def rounds(self) -> int:
        return len(self.timings[CHAIN].seconds)

    @property
    def rtfx(self) -> float:
        """Seconds of audio per second."""
        return 1e3 * self.audio_seconds / self.timings[CHAIN].milliseconds


class SystemTimer:
    """Measures one system; or several that have the same artifacts, glue and cases, and so the same times.

    Nothing is loaded before it is asked for, and nothing is measured twice. `timed` says which stages of a case are to
    be compared with what runs beside them.
    """

    def __init__(
        self, bench: Workbench, effort: Effort, clock: Clock, timed: Callable[[Case], Collection[str]]
    ) -> None:
        self.bench, self.effort, self.clock, self._timed = bench, effort, clock, timed
        self._outputs = Outputs(bench)
        self._sessions: dict[tuple[str, str], Session] = {}
        self._loads: dict[str, tuple[float, ...]] = {}
        self._first_runs: dict[str, float] = {}
        self._rounds: dict[str, list[Round]] = {}
        self._measured: dict[str, Measured] = {}

    @property
    def system(self) -> System:
        return self.bench.system

    @property
    def peer(self) -> bool:
        """True to time eager PyTorch alongside. Absolute times are not comparable across machines; ratios are."""
        return self.bench.runtime.name in ANYWHERE

    def loads(self, stage: Stage) -> tuple[float, ...]:
        """Return the seconds of several loads of the shipping artifact, the first in this process first."""
        if stage.name not in self._loads:
            ships = self.bench.deployed.variants[stage.name]
            with undisturbed(THREADS):
                took = []
                for number in range(LOADS):
                    session = self.bench.session(stage, ships)
                    took.append(session.load_seconds)
                    if number == 0:
                        self._sessions[stage.name, ships.name] = session
                    else:
                        session.close()
            self._loads[stage.name] = tuple(took)
        return self._loads[stage.name]

    def first_run(self, stage: Stage) -> float | None:
        """Return the seconds of the first run after the first load, if the stage ran at all."""
        return self._first_runs.get(stage.name)

    def measured(self, case: Case) -> Measured:
        if case.name not in self._measured:
            self._measure(case, self.effort)
        return self._measured[case.name]

    def extend(self, case: Case) -> None:
        """Measure a case again and for longer, and count the rounds so far as well."""
        self._measure(case, replace(self.effort, seconds=LONGER * self.effort.seconds))

    @property
    def so_far(self) -> tuple[Measured, ...]:
        return tuple(self._measured.values())

    def close(self) -> None:
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()

    def _session(self, stage: Stage, variant: Variant) -> Session:
        key = stage.name, variant.name
        if key not in self._sessions:
            self._sessions[key] = self.bench.session(stage, variant)
        return self._sessions[key]

    def _measure(self, case: Case, effort: Effort) -> None:
        timed = frozenset(self._timed(case))
        chain = ChainTimer(
            self.bench, self._session, timed, self.clock, peer=self.peer, alternatives=effort.alternatives
        )
        golden = self.bench.goldens.load(case)

        def run(number: int, every: Mapping[str, int]) -> Round:
            made = chain.round(case, golden, number, every)
            self._outputs.compare(case, made)
            return made

        def enough(found: list[Round]) -> bool:
            taken = [sum(len(made.ratios(name)) for made in found) for name in timed] if self.peer else [len(found)]
            return min(taken, default=len(found)) >= effort.samples

        with undisturbed(THREADS):
            warm = run(0, {stage.name: 1 for stage in self.system.stages if not stage.stepped})
            every = {name: max(1, len(times.steps) // COMPARED) for name, times in warm.stages.items()}
            found = self._rounds.setdefault(case.name, [])
            found += rounds(lambda number: run(number, every), effort, enough, self.clock)
        self._first_runs = {**chain.first_runs, **self._first_runs}
        self._measured[case.name] = _measured(self.bench, case, found, self._outputs.of(case))


def _measured(bench: Workbench, case: Case, found: Sequence[Round], compared: tuple[Compared, ...]) -> Measured:
    system, ships = bench.system, bench.deployed.variants
    first, ran = found[0], [stage for stage in system.stages if stage.name in found[0].stages]
    timings = {
        stage.name: Timing(
            tuple(made.stages[stage.name].seconds for made in found),
            tuple(ratio for made in found for ratio in made.ratios(stage.name)),
        )
        for stage in ran
    }
    timings[CHAIN] = Timing(
        tuple(made.chain for made in found), tuple(ratio for made in found for ratio in made.chain_ratios())
    )
    steps = {
        stage.name: _steps([made.stages[stage.name].steps for made in found], first.stages[stage.name].bucket)
        for stage in ran
        if stage.stepped
    }
    waits = [made.first_audio for made in found if made.first_audio is not None]
    return Measured(
        case=case.name,
        sizes=first.sizes,
        t_enc=t_enc(system, first.sizes),
        audio_seconds=first.audio_seconds,
        timings=timings,
        compared=compared,
        steps=steps,
        first_audio_ms=1e3 * statistics.median(waits) if waits and steps else None,
        alternatives={
            stage.name: beside for stage in ran if (beside := _alternatives(stage, ships[stage.name], found))
        },
    )


def _steps(of_rounds: Sequence[Sequence[float]], bucket: int | None) -> StepTimes:
    each = np.median(np.array(of_rounds), axis=0)
    quarter = max(1, len(each) // 4)
    first, last = np.median(each[:quarter]), np.median(each[-quarter:])
    median = 1e3 * float(np.median(each))
    return StepTimes(count=len(each), ms=median, growth=float(last / first), bucket=bucket)


def _alternatives(stage: Stage, ships: Variant, found: Sequence[Round]) -> dict[str, float]:
    """Return the time of each variant that could ship instead, against that of the one that does."""
    taken = {
        variant.name: [ratio for made in found for ratio in made.stages[stage.name].ratios(variant.name, ships.name)]
        for variant in alternatives(stage, ships)
    }
    return {name: statistics.median(ratios) for name, ratios in taken.items() if ratios}


def identity(bench: Workbench, cases: Sequence[Case]) -> str:
    """Return a digest of all that decides what a timer measures. Two systems of one identity are measured once."""
    system, artifacts, ships = bench.system, bench.artifacts, bench.deployed.variants
    return digest(
        {
            "artifacts": {
                f"{stage.name} {variant.name}": artifacts.key(stage, variant)
                for stage in system.stages
                for variant in (ships[stage.name], *alternatives(stage, ships[stage.name]))
            },
            "glue": digest(code(system.chain, system.tables)),
            "goldens": [bench.goldens.identity(case) for case in cases],
            "cases": [case.name for case in cases],
            "scope": system.scope,
            "reference": system.reference.name,
        }
    )
