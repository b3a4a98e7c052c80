"""One system, timed: loads what ships, runs its chain in rounds, and keeps what they took."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from parity.base.fingerprint import code, digest
from parity.bench import round as rounded
from parity.bench.record import CaseTimes, StepTimes
from parity.bench.round import ChainTimer, Compared, Round, alternatives
from parity.bench.timing import Clock, Effort, Timing, rounds, undisturbed
from parity.declarations import Case, Dim, Stage, System, Variant
from parity.judge.workbench import Workbench
from parity.plan.checks import CHAIN
from parity.run.runtime import Crosser

LOADS = 3
COMPARED = 16
"""Steps of one round at which others run beside the artifact: each gives a sample, and more would add nothing."""
LONGER = 3


@dataclass(frozen=True)
class Measured:
    """One case of one system: its times in few numbers and in full, by stage and of the chain, and its outputs beside
    upstream's.

    `alternatives` has, by stage and variant, the time of a variant against that of the one that ships.
    """

    times: CaseTimes
    timings: Mapping[str, Timing]
    compared: tuple[Compared, ...]
    alternatives: Mapping[str, Mapping[str, float]]


class SystemTimer:
    """Measures one system; or several that have the same artifacts, glue and cases, and so the same times.

    Nothing is loaded before it is asked for, and nothing is measured twice. `timed` says which stages of a case are to
    be compared with what runs beside them. `cases` has what was measured so far, `first_runs` the seconds of the first
    run after the first load, of each stage that ran at all.
    """

    def __init__(
        self, bench: Workbench, effort: Effort, clock: Clock, timed: Callable[[Case], Collection[str]]
    ) -> None:
        self.bench, self.effort, self.clock, self._timed = bench, effort, clock, timed
        self._artifacts: dict[tuple[str, str], Crosser] = {}
        self._loads: dict[str, tuple[float, ...]] = {}
        self.first_runs: dict[str, float] = {}
        self._rounds: dict[str, list[Round]] = {}
        self._compared: dict[str, dict[str, Compared]] = {}
        self.cases: dict[str, Measured] = {}

    def loads(self, stage: Stage) -> tuple[float, ...]:
        """Return the seconds of several loads of the shipping artifact, the first in this process first."""
        if stage.name not in self._loads:
            ships, took = self.bench.deployed.variants[stage.name], []
            with undisturbed():
                for _ in range(LOADS):
                    session = self.bench.session(stage, ships)
                    took.append(session.load_seconds)
                    kept = self._artifacts.setdefault((stage.name, ships.name), Crosser(stage, ships, session))
                    if kept.session is not session:
                        session.close()
            self._loads[stage.name] = tuple(took)
        return self._loads[stage.name]

    def measured(self, case: Case) -> Measured:
        if case.name not in self.cases:
            self._measure(case, self.effort)
        return self.cases[case.name]

    def extend(self, case: Case) -> None:
        """Measure a case again and for longer, and count the rounds so far as well."""
        self._measure(case, replace(self.effort, seconds=LONGER * self.effort.seconds))

    def close(self) -> None:
        for artifact in self._artifacts.values():
            artifact.session.close()
        self._artifacts.clear()

    def _artifact(self, stage: Stage, variant: Variant) -> Crosser:
        key = stage.name, variant.name
        if key not in self._artifacts:
            self._artifacts[key] = Crosser(stage, variant, self.bench.session(stage, variant))
        return self._artifacts[key]

    def _measure(self, case: Case, effort: Effort) -> None:
        timed = frozenset(self._timed(case))
        chain = ChainTimer(self.bench, self._artifact, timed, self.clock, effort.alternatives)
        golden = self.bench.goldens.load(case)
        compared = self._compared.setdefault(case.name, {})

        def run(number: int, every: Mapping[str, int]) -> Round:
            made, computed = chain.round(case, golden, number, every)
            # Most rounds give the bits of an earlier one.
            if (key := rounded.digest(computed, made.stages)) not in compared:
                compared[key] = rounded.compare(self.bench, computed, made.stages)
            return made

        def enough(found: list[Round]) -> bool:
            taken = [sum(len(made.ratios(name)) for made in found) for name in timed] if chain.peer else [len(found)]
            return min(taken, default=len(found)) >= effort.samples

        with undisturbed():
            warm = run(0, {stage.name: 1 for stage in self.bench.system.stages if not stage.stepped})
            every = {name: max(1, len(times.steps) // COMPARED) for name, times in warm.stages.items()}
            found = self._rounds.setdefault(case.name, [])
            found += rounds(lambda number: run(number, every), effort, enough, self.clock)
        self.first_runs = {**chain.first_runs, **self.first_runs}
        self.cases[case.name] = _measured(self.bench, case, found, tuple(compared.values()))


def _measured(bench: Workbench, case: Case, found: Sequence[Round], compared: tuple[Compared, ...]) -> Measured:
    ships, first = bench.deployed.variants, found[0]
    ran = [stage for stage in bench.system.stages if stage.name in first.stages]
    seconds = {stage.name: tuple(made.stages[stage.name].seconds for made in found) for stage in ran}
    seconds[CHAIN] = tuple(made.chain for made in found)
    timings = {
        name: Timing(taken, tuple(ratio for made in found for ratio in made.ratios(name)))
        for name, taken in seconds.items()
    }
    steps = {
        stage.name: _steps([made.stages[stage.name].steps for made in found], first.stages[stage.name].bucket)
        for stage in ran
        if stage.stepped
    }
    waits = [made.first_audio for made in found if made.first_audio is not None]
    stages, chain = {stage.name: timings[stage.name] for stage in ran}, timings[CHAIN]
    times = CaseTimes(
        case=case.name,
        sizes=first.sizes,
        t_enc=_t_enc(bench.system, first.sizes),
        audio_seconds=first.audio_seconds,
        rounds=len(found),
        chain_ms=chain.milliseconds,
        rtfx=1e3 * first.audio_seconds / chain.milliseconds,
        ratio=chain.ratio,
        stage_ms={name: timing.milliseconds for name, timing in stages.items()},
        stage_ratio={name: timing.ratio for name, timing in stages.items() if timing.ratio is not None},
        steps=steps,
        first_audio_ms=1e3 * statistics.median(waits) if waits and steps else None,
    )
    beside = {stage.name: _alternatives(stage, ships[stage.name], found) for stage in ran}
    return Measured(times, timings, compared, beside)


def _t_enc(system: System, sizes: Mapping[str, int]) -> int:
    """Return the first dynamic size of the first stage, such as the number of tokens; 0 where nothing is dynamic."""
    shapes = (tensor.shape for tensor in system.stages[0].inputs.values())
    return next((sizes.get(size.name, 0) for shape in shapes for size in shape if isinstance(size, Dim)), 0)


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
