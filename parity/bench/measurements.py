"""Benchmarks of a system, and their measurements: a timer for each distinct system, and only what is selected."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

from parity.base.text import duration
from parity.bench.timer import Measured, SystemTimer, identity
from parity.bench.timing import Clock, Effort
from parity.declarations import Case, System
from parity.judge.workbench import Workbench
from parity.plan.checks import CHAIN, Deployed

Kind = Literal["speed", "overall", "load", "size", "placement", "complete"]
BUNDLE, ALL = "bundle", "all"
Mode = Literal["full", "quick", "record"]
EFFORTS: dict[Mode, Effort] = {
    "full": Effort(),
    "quick": Effort(seconds=2.0, samples=2, alternatives=False),
    # Many later runs are compared with a baseline.
    "record": Effort(seconds=45.0, samples=12),
}
OVERHEAD = 5.0
"""Seconds to load and warm up a chain, as far as is known before the first one is measured."""


@dataclass(frozen=True)
class Benchmark:
    """One thing to measure and judge.

    "overall" is the speed over all cases of a run, "complete" that nothing is left out of budgets and baseline. `stage`
    may be the chain, the bundle of all that ships, or all of the system.
    """

    kind: Kind
    system: str
    stage: str
    variant: str
    case: str = ""

    @property
    def id(self) -> str:
        """The name in a baseline. The variant is part of it: the times of another one are not comparable."""
        return "-".join(part for part in (self.system, self.stage, self.variant, self.case) if part)

    @property
    def test(self) -> str:
        """The name among the tests, where a speed, a load and a size of one artifact differ."""
        return self.id if self.kind == "speed" else f"{self.kind}-{self.id}"


def benchmarks(system: System, cases: Iterable[Case], ships: Deployed) -> Iterator[Benchmark]:
    """Yield every benchmark of a system, on these cases. A program has one size, that of all its methods."""
    yield from speeds(system, cases, ships)
    stages = {stage.name: ships.variants[stage.name].name for stage in system.stages}
    kinds: dict[Kind, dict[str, str]] = {
        "overall": {**stages, CHAIN: ships.name},
        "load": stages,
        "size": {**({} if ships.whole else stages), BUNDLE: ships.name},
        "placement": stages,
        "complete": {ALL: ships.name},
    }
    for kind, parts in kinds.items():
        for stage, variant in parts.items():
            yield Benchmark(kind, system.name, stage, variant)


def speeds(system: System, cases: Iterable[Case], ships: Deployed) -> Iterator[Benchmark]:
    for case in cases:
        for stage in system.stages:
            yield Benchmark("speed", system.name, stage.name, ships.variants[stage.name].name, case.name)
        yield Benchmark("speed", system.name, CHAIN, ships.name, case.name)


class Measurements:
    """The measurements of one run, made when they are first asked for, or all in a row.

    Args:
        systems: By name, those of this run.
        cases: Gives the cases on which a system is measured.
        workbench: Gives what runs the artifacts of a system.
    """

    def __init__(
        self,
        systems: dict[str, System],
        cases: Callable[[System], list[Case]],
        workbench: Callable[[str], Workbench],
        mode: Mode,
        clock: Clock,
    ) -> None:
        self.systems, self.cases, self.workbench = systems, cases, workbench
        self.effort, self.clock = EFFORTS[mode], clock
        self.selected: Sequence[Benchmark] = ()
        self.timers: dict[str, SystemTimer] = {}
        self._shared: dict[str, SystemTimer] = {}
        self._failed: dict[tuple[str, str], tuple[Exception, TracebackType | None]] = {}

    def timer(self, system: str) -> SystemTimer:
        """Return the timer of a system: the same one for all systems with the same artifacts, glue and cases."""
        if system not in self.timers:
            bench = self.workbench(system)
            made = SystemTimer(bench, self.effort, self.clock, lambda case: self._stages(made, case))
            self.timers[system] = self._shared.setdefault(identity(bench, self.cases(bench.system)), made)
        return self.timers[system]

    def loads(self, benchmark: Benchmark) -> tuple[float, ...]:
        self._raise(benchmark.system, f"load {benchmark.stage}")
        return self.timer(benchmark.system).loads(self.systems[benchmark.system].stage(benchmark.stage))

    def of(self, benchmark: Benchmark) -> list[Measured]:
        """Return what was measured for a benchmark, case by case; raise what went wrong meanwhile."""
        cases = self.cases_of(benchmark)
        for case in cases:
            self._raise(benchmark.system, case.name)
        return [self.timer(benchmark.system).measured(case) for case in cases]

    def cases_of(self, benchmark: Benchmark) -> list[Case]:
        """Return the cases, as they go with the weights, on which the chain has to be timed for a benchmark."""
        system = self.workbench(benchmark.system).system
        if benchmark.kind == "overall":
            return self.cases(system)
        return [system.reference.case(benchmark.case)] if benchmark.kind == "speed" else []

    def make(self, say: Callable[[str], None]) -> None:
        """Measure all that is selected, and say before each chain how long the rest will take.

        An exception is kept for the benchmarks that need what it prevented.
        """
        for benchmark in self.selected:
            if benchmark.kind == "load":
                with self._kept(f"load {benchmark.stage}", benchmark.system):
                    self.loads(benchmark)
        chains = self._chains()
        began, expected = self.clock(), self.effort.seconds + OVERHEAD
        for done, (timer, case, systems) in enumerate(chains):
            if done:
                expected = (self.clock() - began) / done
            same = f" and the same for {', '.join(systems[1:])}" if systems[1:] else ""
            left = f"about {duration(expected * (len(chains) - done))} left"
            say(f"timing {done + 1} of {len(chains)}, {left}: {systems[0]}, case {case.name}{same}")
            with self._kept(case.name, *systems):
                timer.measured(case)
            if timer not in [later for later, _, _ in chains[done + 1 :]]:
                timer.close()
        if chains:
            say(f"timed {len(chains)} in {duration(self.clock() - began)}")

    def close(self) -> None:
        """Unload all artifacts."""
        for timer in self.timers.values():
            timer.close()

    def _chains(self) -> list[tuple[SystemTimer, Case, list[str]]]:
        """Return the distinct chains that the selected benchmarks need, each with the systems that have it.

        Those of one timer come one after another.
        """
        found: dict[tuple[SystemTimer, str], tuple[Case, list[str]]] = {}
        for benchmark in self.selected:
            for case in self.cases_of(benchmark):
                with self._kept(case.name, benchmark.system):
                    _, systems = found.setdefault((self.timer(benchmark.system), case.name), (case, []))
                    systems += [benchmark.system] if benchmark.system not in systems else []
        timers = list(self._shared.values())
        chains = [(timer, case, systems) for (timer, _), (case, systems) in found.items()]
        return sorted(chains, key=lambda chain: timers.index(chain[0]))

    def _stages(self, timer: SystemTimer, case: Case) -> set[str]:
        """Return the stages to compare on a case, for the selected benchmarks of all systems of one timer."""
        found: set[str] = set()
        for benchmark in self.selected:
            names = [needed.name for needed in self.cases_of(benchmark)]
            if self.timers.get(benchmark.system) is timer and case.name in names:
                path = {stage.name for stage in self.systems[benchmark.system].stages if not stage.aside}
                found |= path if benchmark.stage == CHAIN else {benchmark.stage}
        return found or {stage.name for stage in timer.bench.system.stages}

    @contextmanager
    def _kept(self, case: str, *systems: str) -> Iterator[None]:
        """Keep an exception for `_raise`."""
        try:
            yield
        except Exception as error:
            self._failed.update({(system, case): (error, error.__traceback__) for system in systems})

    def _raise(self, system: str, case: str) -> None:
        if failed := self._failed.get((system, case)):
            error, traceback = failed
            raise error.with_traceback(traceback)
