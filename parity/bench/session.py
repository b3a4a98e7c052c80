"""The bench of one run: what it measures, what is judged of it, and what becomes the baseline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from parity.base.paths import BUDGETS
from parity.bench import baseline, machine, results
from parity.bench.baseline import Baseline, Entry
from parity.bench.benchmarks import BUNDLE, Benchmark, benchmarks, speeds
from parity.bench.measurements import EFFORTS, Measurements, Mode
from parity.bench.results import RECORD, Limits, Result
from parity.bench.round import alternatives
from parity.bench.timer import Measured
from parity.bench.timing import Clock, ThreadClock
from parity.declarations import Stage, Variant
from parity.judge import budgets
from parity.judge.budgets import ANYWHERE, Budgets
from parity.judge.workbench import Workbench
from parity.plan.checks import CHAIN, deployed
from parity.record.suite import Suite
from parity.run.placement import placement
from parity.verdict import Check, Finding

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
        self.measurements = Measurements(self.systems, self.cases, self.workbench, mode, clock or ThreadClock())
        self._limits: dict[str, Limits] = {}
        self._extended: set[tuple[str, str]] = set()

    def plan(self) -> list[Benchmark]:
        """Return every benchmark of this run. Only Core ML says where its ops run; only beside PyTorch has each stage a
        ratio of its own."""
        left_out = {"load", "placement"} if self.mode == "quick" else set() if self.placed else {"placement"}
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
                key = self.measurements.identity(benchmark.system), case.name
                if key not in self._extended:
                    self._extended.add(key)
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
        timing = measured.timings[benchmark.stage]
        extra: dict[str, Any] = {"T_enc": measured.t_enc, **measured.sizes, "audio_s": measured.audio_seconds}
        extra |= {"RTFx": measured.audio_seconds * 1e3 / timing.milliseconds, "machine": dict(self.machine)}
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
    def machine(self) -> machine.Machine:
        return machine.this(self.suite.runtimes[0], self.suite.options.compute_units)

    @property
    def beside(self) -> bool:
        """True where eager PyTorch runs beside what is timed."""
        return self.suite.runtimes[0].name in ANYWHERE

    @property
    def placed(self) -> bool:
        """True where the runtime tells where each op runs."""
        return self.suite.runtimes[0].name == "coreml"

    @property
    def suggestions(self) -> dict[str, list[str]]:
        """The budgets that are missing, as lines to paste, by table."""
        found: dict[str, list[str]] = {}
        for one in dict.fromkeys(one for result in self.results.values() for one in result.suggestions):
            found.setdefault(one.table, []).append(one.line)
        return found

    def notes(self) -> list[str]:
        """Say what is true of the whole run: what it leaves out, that it was quick, that there is no baseline."""
        return [*self._untimed(), *self._conditions()]

    def _untimed(self) -> list[str]:
        format = self.suite.runtimes[0].format
        left = [name for name, system in self.suite.systems().items() if name not in self.ships]
        return [
            f"{name} is not timed: what ships of it is unchained"
            for name in left
            if any(stage.shipping.format == format for stage in self.suite.systems()[name].stages)
        ]

    def _conditions(self) -> list[str]:
        if self.mode == "quick":
            return ["quick: a few rounds, judged by ratios to eager PyTorch; no loads, no baseline"]
        timed = dict.fromkeys(one.system for one in self.results if one.kind == "speed")
        lacking = [system for system in timed if not self.baseline(system)]
        if not lacking or self.mode == "record":
            return []
        by = "ratios to eager PyTorch" if self.beside else "budgets"
        return [
            f"no baseline for {', '.join(lacking)} on this machine ({machine.label(self.machine)}): judged by {by}. "
            f"Record one while nothing else runs: {RECORD}"
        ]

    def record_baselines(self, reason: str) -> list[str]:
        """Make what was measured and passed the baseline of this machine; return what changed."""
        lines = []
        for name in self.systems:
            if entries := dict(self._entries(name)):
                lines += baseline.record(self.folder(name), self.machine, entries, self._known(name), reason)
        return lines

    def megabytes(self, system: str, stage: Stage, variant: Variant | None = None) -> float:
        chosen = variant or self.ships[system].variants[stage.name]
        package = self.workbench(system).artifacts.get(stage, chosen).package
        files = [package] if package.is_file() else package.rglob("*")
        return sum(path.stat().st_size for path in files if path.is_file()) / MEGABYTE

    def close(self) -> None:
        self.measurements.close()

    def _judge(self, benchmark: Benchmark) -> Result:
        system, limits = self.systems[benchmark.system], self.limits(benchmark.system)
        if benchmark.kind == "complete":
            return results.complete(system, self.ships[system.name], limits, self._known(system.name))
        if benchmark.kind == "speed":
            (measured,) = self.measurements.of(benchmark)
            return results.speed(benchmark, measured, self._faults(system.name, measured), limits)
        if benchmark.kind == "overall":
            found = self.measurements.of(benchmark)
            return results.overall(benchmark, [(one, self._faults(system.name, one)) for one in found], limits)
        if benchmark.stage == BUNDLE:
            ships = self.ships[system.name]
            counted = [stage for stage in system.stages if not stage.aside][: 1 if ships.whole else None]
            whole = sum(self.megabytes(system.name, stage) for stage in counted)
            return results.size(benchmark, whole, limits, ships)
        if benchmark.kind == "load":
            return results.load(benchmark, self.measurements.loads(benchmark), limits)
        bench, stage, ships = self.workbench(system.name), system.stage(benchmark.stage), self.ships[system.name]
        if benchmark.kind == "size":
            return results.size(benchmark, self.megabytes(system.name, stage), limits, ships)
        variant = ships.variants[stage.name]
        found_at = self.placement_of(
            bench.artifacts.get(stage, variant).package, bench.compute_units or stage.units(variant)
        )
        return results.placement(benchmark, found_at, limits)

    def _faults(self, system: str, measured: Measured) -> Sequence[Finding]:
        """Return the gates that the timed outputs break."""
        bench = self.workbench(system)
        return list(dict.fromkeys(fault for compared in measured.compared for fault in compared.faults(bench)))

    def _entries(self, system: str) -> Iterator[tuple[str, Entry]]:
        date = f"{self.started:%Y-%m-%d}"
        for benchmark, result in self.results.items():
            if benchmark.system == system and benchmark.kind == "speed" and result.passed:
                (measured,) = self.measurements.of(benchmark)
                timing = measured.timings[benchmark.stage]
                yield benchmark.id, baseline.entry(timing.unit, measured.sizes, timing.samples, date)

    def _known(self, system: str) -> list[str]:
        """Return every benchmark that may have a baseline, on any case."""
        declared = self.systems[system]
        return [benchmark.id for benchmark in speeds(declared, declared.reference.cases, self.ships[system])]
