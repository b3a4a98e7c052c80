"""The bench of one run: a stand for each system, what was judged on it, and what is kept of that."""

from __future__ import annotations

import statistics
import time
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from parity.base.paths import BUDGETS
from parity.bench import baseline, machine, rulings
from parity.bench.baseline import Entry
from parity.bench.record import ArtifactFacts, BenchRecord, CaseTimes, Judged, Rival, StepTimes, SystemBench
from parity.bench.rulings import Bounds, Ruling, Suggestion
from parity.bench.stand import Measured, Stand
from parity.bench.subjects import BUNDLE, Subject, complete, loads, overall, placements, sizes, speeds
from parity.bench.timing import Clock, Effort
from parity.declarations import System
from parity.judge import budgets_toml
from parity.judge.budgets import DEVICE, Budgets
from parity.plan.checks import CHAIN, SHIPS
from parity.record.suite import Suite
from parity.verdict import Check

LONGER = Effort(fewest=12, most=20, seconds=60.0)
"""For a baseline: what is compared with many times is measured for longer."""


class Bench:
    """Measures what it is asked to judge, once, and remembers what it found."""

    def __init__(self, suite: Suite, recording: bool = False, clock: Clock = time.perf_counter) -> None:
        self.suite, self.recording, self.clock = suite, recording, clock
        self.started = datetime.now(UTC)
        self.rulings: dict[Subject, Ruling] = {}
        self._stands: dict[str, Stand] = {}
        self._bounds: dict[str, Bounds] = {}

    def plan(self, *kinds: str) -> list[Subject]:
        """Every benchmark of these kinds, on the cases of this run. Only Core ML says where its ops go."""
        found: list[Subject] = []
        for system in self.suite.systems().values():
            found += [*speeds(system, self.suite.cases(system)), *self._overall(system), *loads(system), *sizes(system)]
            found += placements(system) if self._runtime == "coreml" else ()
            found += complete(system)
        return [subject for subject in found if subject.kind in kinds]

    def check(self, subject: Subject) -> Check:
        """The check whose artifacts a benchmark needs."""
        runtime = self.suite.runtimes[0]
        return Check(
            system=subject.system,
            stage=CHAIN,
            variant=SHIPS,
            case="",
            mode="chained",
            runtime=runtime.name,
            numerics=runtime.numerics,
        )

    def measured(self, subject: Subject) -> Measured:
        stand = self.stand(subject.system)
        return stand.measured(stand.system.reference.case(subject.case))

    def judge(self, subject: Subject) -> Ruling:
        ruling = self.rulings[subject] = self._judge(subject)
        return ruling

    def times(self, subject: Subject) -> tuple[tuple[float, ...], str, dict[str, Any]]:
        """For pytest-benchmark: the seconds of each round, the group, and what else there is to know."""
        if subject.kind == "load":
            cold = self.stand(subject.system).cold[subject.stage]
            return cold.loads, f"{subject.system} load", {"first_load_s": cold.loads[0], "first_run_s": cold.first_run}
        measured = self.measured(subject)
        timing = measured.timings[subject.stage]
        extra: dict[str, Any] = {"T_enc": measured.t_enc, **measured.sizes, "audio_s": measured.audio_seconds}
        extra |= {"p95_ms": timing.p95_milliseconds, "RTFx": measured.audio_seconds * 1e3 / timing.milliseconds}
        if timing.peer:
            extra |= {"ratio_to_eager": timing.ratio, "eager_s": list(timing.peer)}
        return timing.seconds, f"{subject.system} {subject.case}", {**extra, "machine": dict(self.machine)}

    def stand(self, system: str) -> Stand:
        if system not in self._stands:
            check = Check(
                system=system,
                stage=CHAIN,
                variant=SHIPS,
                case="",
                mode="chained",
                runtime=self._runtime,
                numerics=self.suite.runtimes[0].numerics,
            )
            cases = tuple(self.suite.cases(self.suite.systems()[system]))
            effort = LONGER if self.recording else Effort()
            self._stands[system] = Stand(self.suite.workbench(check), cases, effort, self.clock)
        return self._stands[system]

    def bounds(self, system: str) -> Bounds:
        if system not in self._bounds:
            folder = self.folder(system)
            path = self.suite.bounds(self.suite.systems()[system], BUDGETS)
            known = budgets_toml.load(path) if path.exists() else Budgets((), ())
            this = self.machine
            profile = known.here(str(this["system"]), str(this["model"]), str(this["runtime"]))
            self._bounds[system] = Bounds(
                this,
                known,
                profile,
                baseline.find(folder, this),
                baseline.others(folder, this),
                str(path.relative_to(self.suite.project.root)),
                self.recording,
            )
        return self._bounds[system]

    def folder(self, system: str) -> Path:
        """Where the baselines of the chosen weights lie."""
        return self.suite.project.golden_folder / system / self.suite.weights(self.suite.systems()[system]).folder

    @cached_property
    def machine(self) -> machine.Machine:
        return machine.this(self.suite.runtimes[0], self.suite.options.compute_units)

    @property
    def suggestions(self) -> dict[str, list[str]]:
        """The budgets that are missing, as lines to paste, by table."""
        found: dict[str, list[str]] = {}
        for one in dict.fromkeys(_suggestions(self.rulings.values())):
            found.setdefault(one.table, []).append(one.line)
        return found

    def record_baselines(self, reason: str) -> list[str]:
        """Makes what was measured, and computes what it should, the baseline of this machine."""
        lines = []
        for system in self.suite.systems().values():
            entries = dict(self._entries(system))
            if entries:
                lines += baseline.record(self.folder(system.name), self.machine, entries, _known(system), reason)
        return lines

    def record(self, partial: bool, errors: dict[str, str], recorded: tuple[str, ...] = ()) -> BenchRecord:
        return BenchRecord(
            id=self.suite.run_id,
            started=self.started.isoformat(timespec="seconds"),
            machine=self.machine,
            partial=partial,
            systems=tuple(_of_system(stand, self.rulings) for stand in self._stands.values()),
            judged=tuple(Judged(subject.test, one.findings) for subject, one in self.rulings.items()),
            errors=errors,
            recorded=recorded,
        )

    def close(self) -> None:
        for stand in self._stands.values():
            stand.close()

    @property
    def _runtime(self) -> str:
        return self.suite.runtimes[0].name

    def _overall(self, system: System) -> list[Subject]:
        """Ratios of each stage where PyTorch runs beside it; else the chain's RTFx alone."""
        found = list(overall(system))
        return found[-1:] if self._runtime in DEVICE else found

    def _judge(self, subject: Subject) -> Ruling:
        stand, bounds = self.stand(subject.system), self.bounds(subject.system)
        if subject.kind == "complete":
            return rulings.complete(stand.system, bounds, _known(stand.system))
        if subject.kind == "speed":
            return rulings.speed(subject, self.measured(subject), bounds)
        if subject.kind == "overall":
            return rulings.overall(subject, [stand.measured(case) for case in stand.cases], bounds)
        if subject.stage == BUNDLE:
            return rulings.size(
                subject, sum(stand.megabytes(stage) for stage in stand.system.stages if not stage.aside), bounds
            )
        stage = stand.system.stage(subject.stage)
        if subject.kind == "load":
            return rulings.load(subject, stand.cold[stage.name], bounds)
        if subject.kind == "size":
            return rulings.size(subject, stand.megabytes(stage), bounds)
        return rulings.placement(subject, stand.placement(stage), bounds)

    def _entries(self, system: System) -> Iterator[tuple[str, Entry]]:
        for subject, ruling in self.rulings.items():
            if subject.system == system.name and subject.kind == "speed" and ruling.passed:
                measured = self.measured(subject)
                timing = measured.timings[subject.stage]
                date = f"{self.started:%Y-%m-%d}"
                yield subject.id, baseline.entry(timing.unit, measured.sizes, timing.samples, date)


def _known(system: System) -> list[str]:
    """Every benchmark that may have a baseline, on whichever case."""
    return [subject.id for subject in speeds(system, system.reference.cases)]


def _suggestions(found: Iterable[Ruling]) -> Iterator[Suggestion]:
    for ruling in found:
        yield from ruling.suggestions


def _of_system(stand: Stand, judged: Collection[Subject]) -> SystemBench:
    """What was measured of a system; nothing is measured only to be shown."""
    wanted = {(subject.kind, subject.stage) for subject in judged if subject.system == stand.system.name}
    artifacts = []
    for stage in stand.system.stages:
        cold = stand.cold[stage.name] if stand.is_loaded else None
        artifacts.append(
            ArtifactFacts(
                stage.name,
                stage.shipping.name,
                stand.megabytes(stage) if ("size", stage.name) in wanted else None,
                cold.loads[0] if cold else None,
                1e3 * cold.first_run if cold else None,
            )
        )
    return SystemBench(stand.system.name, tuple(map(_times, stand.so_far)), tuple(artifacts), tuple(_rivals(stand)))


def _rivals(stand: Stand) -> Iterator[Rival]:
    for stage in stand.system.stages:
        ratios: dict[str, list[float]] = {}
        for measured in stand.so_far:
            for variant, ratio in measured.rivals.get(stage.name, {}).items():
                ratios.setdefault(variant, []).append(ratio)
        for variant, found in ratios.items():
            size = stand.megabytes(stage, stage.variant(variant))
            yield Rival(stage.name, variant, size, statistics.median(found))


def _times(measured: Measured) -> CaseTimes:
    stages = {name: timing for name, timing in measured.timings.items() if name != CHAIN}
    chain = measured.timings[CHAIN]
    return CaseTimes(
        case=measured.case,
        sizes=measured.sizes,
        t_enc=measured.t_enc,
        audio_seconds=measured.audio_seconds,
        rounds=len(chain.seconds),
        chain_ms=chain.milliseconds,
        chain_p95_ms=chain.p95_milliseconds,
        rtfx=measured.rtfx,
        ratio=chain.ratio,
        stage_ms={name: timing.milliseconds for name, timing in stages.items()},
        stage_ratio={name: timing.ratio for name, timing in stages.items() if timing.ratio is not None},
        steps={name: StepTimes(made.count, made.milliseconds, made.growth) for name, made in measured.steps.items()},
        first_audio_ms=measured.first_audio_ms,
    )
