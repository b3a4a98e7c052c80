"""The bench of one run: what it measures, what is judged of it, what becomes the baseline, and the record of it all."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from parity.base.paths import BUDGETS
from parity.bench import baseline, results
from parity.bench.baseline import Baseline, Entry, Machine
from parity.bench.measurements import BUNDLE, EFFORTS, Benchmark, Measurements, Mode, benchmarks, speeds
from parity.bench.record import ArtifactFacts, BenchRecord, SystemBench
from parity.bench.results import RECORD, Limits, Result
from parity.bench.timer import Measured, alternatives
from parity.bench.timing import Clock
from parity.declarations import Stage, Variant
from parity.judge import budgets
from parity.judge.budgets import ANYWHERE, Budgets
from parity.judge.workbench import Workbench
from parity.plan.checks import CHAIN, deployed
from parity.record.suite import Suite
from parity.run.placement import placement
from parity.verdict import Check

MEGABYTE = 1e6
OF_TIME = ("baseline", "chain_ratio", "stage_ratio", "rtfx", "chain_ms", "stage_ms")
"""The gates that a busy machine can break."""


class Bench:
    """Measures what is selected, once, and remembers what was found.

    The cases are those of the run in quick mode too, for the budgets hold for the mean over all of them.

    Attributes:
        mode: "full"; "quick" for a few rounds, judged by ratios to eager PyTorch and by sizes;
            "record" to make the measurements the baseline of this machine.
        ships: What ships of each system and this run's runtime runs.
        systems: The systems of which anything ships, by name.
    """

    def __init__(self, suite: Suite, mode: Mode = "full", clock: Clock | None = None) -> None:
        self.suite, self.mode = suite, mode
        self.started = datetime.now(UTC)
        self.results: dict[Benchmark, Result] = {}
        self.placement_of = placement
        known, format = suite.systems(), suite.runtimes[0].format
        self.ships = {name: ships for name, system in known.items() if (ships := deployed(system, format))}
        self.systems = {name: known[name] for name in self.ships}
        self.cases = suite.cases
        self.measurements = Measurements(self.systems, self.cases, self.workbench, mode, clock or Clock())
        self._limits: dict[str, Limits] = {}

    def plan(self) -> list[Benchmark]:
        """Return every benchmark of this run. Only Core ML says where its ops run; only beside PyTorch has each stage a
        ratio of its own."""
        left_out = set() if self.machine["runtime"] == "coreml" else {"placement"}
        left_out |= {"load", "placement"} if self.mode == "quick" else set()
        return [
            one
            for name, system in self.systems.items()
            for one in benchmarks(system, self.cases(system), self.ships[name])
            if one.kind not in left_out and (self.beside or one.kind != "overall" or one.stage == CHAIN)
        ]

    def judge(self, benchmark: Benchmark) -> Result:
        """Judge one benchmark. A time out of its bounds is measured for longer before it fails: a busy machine rarely
        stays busy."""
        result = self._judge(benchmark)
        broken = [finding for finding in result.findings if not finding.passed]
        if broken and all(finding.gate in OF_TIME and finding.bound for finding in broken):
            for case in self.measurements.cases_of(benchmark):
                self.measurements.timer(benchmark.system).extend(case)
            result = self._judge(benchmark)
        self.results[benchmark] = result
        return result

    def times(self, benchmark: Benchmark) -> tuple[tuple[float, ...], str, dict[str, Any]]:
        """Return what pytest-benchmark shows: the seconds of each round, the group, and what else there is to know."""
        if benchmark.kind == "load":
            loads = self.measurements.loads(benchmark)
            return loads, f"{benchmark.system} load", {"first_load_s": loads[0]}
        (measured,) = self.measurements.of(benchmark)
        timing, times = measured.timings[benchmark.stage], measured.times
        extra: dict[str, Any] = {"T_enc": times.t_enc, **times.sizes, "audio_s": times.audio_seconds}
        extra |= {"RTFx": times.audio_seconds * 1e3 / timing.milliseconds, "machine": dict(self.machine)}
        extra |= {"ratio_to_eager": timing.ratio} if timing.ratios else {}
        return timing.seconds, f"{benchmark.system} {benchmark.case}", extra

    def checks(self, system: str) -> Iterator[Check]:
        """Yield the checks that need the same artifacts as the benchmarks of a system."""
        ships, runtime = self.ships[system], self.suite.runtimes[0]
        check = partial(Check, system=system, case="", runtime=runtime.name, numerics=runtime.numerics)
        yield check(stage=CHAIN, variant=ships.name, mode="chained")
        for stage in self.systems[system].stages if EFFORTS[self.mode].alternatives else ():
            for variant in alternatives(stage, ships.variants[stage.name]):
                yield check(stage=stage.name, variant=variant.name, mode="forced")

    def workbench(self, system: str) -> Workbench:
        return self.suite.workbench(next(self.checks(system)))

    def limits(self, system: str) -> Limits:
        if system not in self._limits:
            path = self.suite.bounds(self.systems[system], BUDGETS)
            known = budgets.load(path) if path.exists() else Budgets((), ())
            this = self.machine
            self._limits[system] = Limits(
                machine=this,
                budgets=known,
                profile=known.here(str(this["system"]), str(this["model"]), str(this["runtime"])),
                baseline=self.baseline(system) if self.mode == "full" else None,
                source=str(path.relative_to(self.suite.project.root)),
            )
        return self._limits[system]

    def baseline(self, system: str) -> Baseline | None:
        return baseline.find(self.folder(system), self.machine)

    def folder(self, system: str) -> Path:
        """Return where the baselines of the chosen weights lie."""
        return self.suite.project.golden_folder / system / self.suite.weights(self.systems[system]).folder

    @cached_property
    def machine(self) -> Machine:
        return baseline.this_machine(self.suite.runtimes[0], self.suite.options.compute_units)

    @property
    def beside(self) -> bool:
        """True where eager PyTorch runs beside what is timed."""
        return self.suite.runtimes[0].name in ANYWHERE

    @property
    def suggestions(self) -> dict[str, list[str]]:
        """The budgets that are missing, as lines to paste, by table."""
        found: dict[str, list[str]] = {}
        for table, line in dict.fromkeys(one for result in self.results.values() for one in result.suggestions):
            found.setdefault(table, []).append(line)
        return found

    def notes(self) -> list[str]:
        """Say what is true of the whole run: what it leaves out, that it was quick, that there is no baseline."""
        format, systems = self.suite.runtimes[0].format, self.suite.systems()
        found = [
            f"{name} is not timed: what ships of it is unchained"
            for name in systems
            if name not in self.ships and any(stage.shipping.format == format for stage in systems[name].stages)
        ]
        if self.mode == "quick":
            return [*found, "quick: a few rounds, judged by ratios to eager PyTorch; no loads, no baseline"]
        timed = dict.fromkeys(one.system for one in self.results if one.kind == "speed")
        lacking = [system for system in timed if not self.baseline(system)]
        if lacking and self.mode != "record":
            by = "ratios to eager PyTorch" if self.beside else "budgets"
            found.append(
                f"no baseline for {', '.join(lacking)} on this machine ({baseline.label(self.machine)}): judged by "
                f"{by}. Record one while nothing else runs: {RECORD}"
            )
        return found

    def record_baselines(self, reason: str) -> list[str]:
        """Make what was measured and passed the baseline of this machine; return what changed."""
        date = f"{self.started:%Y-%m-%d}"
        entries: dict[str, dict[str, Entry]] = {}
        for benchmark, result in self.results.items():
            if benchmark.kind == "speed" and result.passed:
                (measured,) = self.measurements.of(benchmark)
                timing, sizes = measured.timings[benchmark.stage], measured.times.sizes
                made = baseline.entry(timing.unit, sizes, timing.samples, date)
                entries.setdefault(benchmark.system, {})[benchmark.id] = made
        lines = []
        for name, of in entries.items():
            lines += baseline.record(self.folder(name), self.machine, of, self._known(name), reason)
        return lines

    def megabytes(self, system: str, stage: Stage, variant: Variant | None = None) -> float:
        chosen = variant or self.ships[system].variants[stage.name]
        package = self.workbench(system).artifacts.get(stage, chosen).package
        files = [package] if package.is_file() else package.rglob("*")
        return sum(path.stat().st_size for path in files if path.is_file()) / MEGABYTE

    def record(self, partial: bool, errors: Mapping[str, str], recorded: Sequence[str] = ()) -> BenchRecord:
        """Return the record of the bench. `errors` has, by test, what failed without a finding."""
        return BenchRecord(
            id=self.suite.run_id,
            started=self.started.isoformat(timespec="seconds"),
            machine=self.machine,
            partial=partial,
            systems=tuple(self._systems()),
            judged={one.test: result.findings for one, result in self.results.items()},
            errors=errors,
            recorded=tuple(recorded),
            notes=tuple(self.notes()),
        )

    def _systems(self) -> Iterator[SystemBench]:
        shown: dict[int, str] = {}
        for name in dict.fromkeys(one.system for one in self.results):
            timer = self.measurements.timers.get(name)
            measured = tuple(timer.cases.values()) if timer else ()
            yield SystemBench(
                system=name,
                cases=tuple(one.times for one in measured),
                artifacts=tuple(self._artifacts(name)),
                alternatives=tuple(self._alternatives(name, measured)),
                same_as=shown.get(id(timer), "") if measured else "",
            )
            shown.setdefault(id(timer), name)

    def _artifacts(self, system: str) -> Iterator[ArtifactFacts]:
        """Yield what was measured of each artifact; nothing is measured only to be shown."""
        wanted = {(one.kind, one.stage) for one in self.results if one.system == system}
        timer = self.measurements.timers.get(system)
        for stage in self.systems[system].stages:
            loaded = timer if ("load", stage.name) in wanted else None
            first = loaded.first_runs.get(stage.name) if loaded else None
            yield ArtifactFacts(
                stage=stage.name,
                variant=self.ships[system].variants[stage.name].name,
                size_mb=self.megabytes(system, stage) if ("size", stage.name) in wanted else None,
                load_s=loaded.loads(stage)[0] if loaded else None,
                first_run_ms=None if first is None else 1e3 * first,
            )

    def _alternatives(self, system: str, found: Sequence[Measured]) -> Iterator[ArtifactFacts]:
        for stage in self.systems[system].stages:
            beside = [one.alternatives.get(stage.name, {}) for one in found]
            for variant in dict.fromkeys(name for ratios in beside for name in ratios):
                size = self.megabytes(system, stage, stage.variant(variant))
                ratio = statistics.median(ratios[variant] for ratios in beside if variant in ratios)
                yield ArtifactFacts(stage=stage.name, variant=variant, size_mb=size, ratio=ratio)

    def _judge(self, benchmark: Benchmark) -> Result:
        name, limits = benchmark.system, self.limits(benchmark.system)
        system, ships, bench = self.systems[name], self.ships[name], self.workbench(name)
        if benchmark.kind == "complete":
            return results.complete(system, ships, limits, self._known(name))
        if benchmark.kind in ("speed", "overall"):
            found = [(one, one.faults(bench)) for one in self.measurements.of(benchmark)]
            if benchmark.kind == "overall":
                return results.overall(benchmark, found, limits)
            return results.speed(benchmark, *found[0], limits)
        if benchmark.kind == "load":
            return results.load(benchmark, self.measurements.loads(benchmark), limits)
        if benchmark.kind == "size":
            stages = [stage for stage in system.stages if not stage.aside][: 1 if ships.whole else None]
            counted = stages if benchmark.stage == BUNDLE else [system.stage(benchmark.stage)]
            return results.size(benchmark, sum(self.megabytes(name, stage) for stage in counted), limits, ships)
        stage, variant = system.stage(benchmark.stage), ships.variants[benchmark.stage]
        package, units = bench.artifacts.get(stage, variant).package, bench.compute_units or stage.units(variant)
        return results.placement(benchmark, self.placement_of(package, units), limits)

    def _known(self, system: str) -> list[str]:
        """Return every benchmark that may have a baseline, on any case."""
        declared = self.systems[system]
        return [benchmark.id for benchmark in speeds(declared, declared.reference.cases, self.ships[system])]
