"""One run of the suite: which checks there are under the chosen options, who runs them, and what is recorded of it."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from operator import itemgetter
from pathlib import Path

from parity.base import libraries
from parity.base.cache import Cache
from parity.base.files import writing
from parity.base.fingerprint import digest
from parity.base.libraries import large_pages
from parity.base.paths import GATES, Project, project
from parity.build.artifacts import Built, Given, composed, given
from parity.compare.evidence import folder_of
from parity.declarations import Case, ComputeUnits, Stage, System, Variant
from parity.golden.store import GoldenStore
from parity.judge import gates
from parity.judge.calibrate import far, measurements, slack
from parity.judge.workbench import Workbench
from parity.plan.checks import chain_sets, excused, formats, large, plan, stretched
from parity.plan.systems import systems
from parity.plan.weights import AUTO, Weights, WeightsError, choose, dressed, fitted, lacking
from parity.record import run
from parity.record.run import Errored, LeftOut, RunRecord, Skipped
from parity.run import executorch
from parity.run.choice import Name, runtime
from parity.run.runtime import Runtime
from parity.verdict import Check, Verdict


@dataclass(frozen=True)
class Options:
    """Choices of the command line; see `--help`."""

    runtime: Name = "auto"
    numerics: tuple[str, ...] = ("declared",)
    weights: str = AUTO
    artifacts: str = ""
    cases: str = "short"
    compute_units: ComputeUnits | None = None


class Suite:
    """Everything that the tests of one process share."""

    def __init__(self, options: Options, run_id: str, at: Project | None = None) -> None:
        large_pages()
        self.options = options
        self.project = at or project()
        self.root = self.project.root
        self.cache = Cache.of(self.project)
        self.run_id = run_id
        self.folder = run.folder_of(self.project.state_folder, run_id)
        self.started = datetime.now(UTC).replace(microsecond=0)
        self._clock = time.monotonic()
        self._benches: dict[tuple[str, str], Workbench] = {}
        self._stores: dict[str, GoldenStore] = {}
        self._weights: dict[str, Weights] = {}

    @cached_property
    def runtimes(self) -> list[Runtime]:
        """The runtimes of this run, each for the artifacts of its format. Benchmarks use the first."""
        own = not self.options.artifacts
        found = [runtime(self.options.runtime, numerics, trusted=own) for numerics in self.options.numerics]
        if self.options.runtime == "auto" and self._with_programs and not executorch.unavailable():
            found.append(runtime("executorch"))
        return found

    @cached_property
    def _with_programs(self) -> list[str]:
        """The systems that are built for ExecuTorch too."""
        return [name for name, system in systems().items() if "pte" in formats(system)]

    def cases(self, system: System) -> list[Case]:
        asked = self.options.cases
        if asked not in ("short", "all"):
            return [system.reference.case(name) for name in asked.split(",")]
        found = [case for case in system.reference.cases if case.short or asked == "all"]
        if not found and not system.reference.heavy:
            raise ValueError(
                f"{system.name} declares no short case: mark one as short, declare it heavy, or ask for --cases all"
            )
        return found

    def systems(self) -> dict[str, System]:
        """Return the systems that this run judges."""
        return {name: system for name, system in systems().items() if not self._excluded(system)}

    def _excluded(self, system: System) -> str:
        """Return why this run does not judge a system, empty for one that it judges."""
        cases = self.cases(system)
        if lacked := unbuilt(system):
            return f"{', '.join(lacked)} not installed; make extra-{system.reference.extra} installs it"
        if self.options.weights == "seeded" and system.reference.seed is None:
            return "it has no seeded weights; --weights trained runs it"
        return "" if cases else "all of its cases are long; --cases all runs them"

    def begin(self) -> None:
        """Announce this run, and clean up after runs that were killed."""
        with writing(self.project.state_folder):
            self._claim = run.claim(self.project.state_folder, self.run_id)
            run.sweep(self.project.state_folder)

    def end(self) -> None:
        run.let_go(self._claim)
        with writing(self.project.state_folder):
            self.cache.trim()

    def checks(self, system: System) -> list[Check]:
        """Return the checks of one system that this run can make.

        A heavy system has none where only short cases run. Of packages that somebody else built, those that are there
        are checked; a system of which none is there has no check.
        """
        return self._given(system)[0]

    def _given(self, system: System) -> tuple[list[Check], list[str]]:
        """Return the checks of a system that this run can make, and the packages that `--artifacts` lacks."""
        checks = list(plan(system, self.cases(system), self.runtimes))
        if not self.options.artifacts:
            return checks, []
        folder = Path(self.options.artifacts)
        if not folder.is_dir():
            raise ValueError(f"--artifacts {folder}: no such folder")
        inner = {stage.name for stage in system.inner}  # nobody ships these
        made, lacking = [], {}
        for check in (one for one in checks if one.mode == "module" or one.stage not in inner):
            paths = [given(folder, stage, variant) for stage, variant in _needed(system, check)]
            lacked = [path.name for path in paths if not path.exists()]
            lacking.update(dict.fromkeys(lacked))
            made += [] if lacked else [check]
        of_artifacts = any(check.mode not in ("module", "exercised") for check in made)
        return made if of_artifacts or not lacking else [], list(lacking)

    def plan(self) -> list[Check]:
        """Return every check that a complete run under these options judges."""
        if not systems():
            raise ValueError("the project declares no system, and without one there is nothing to judge: add one")
        checks = [check for system in self.systems().values() for check in self.checks(system)]
        if not checks:
            raise ValueError(
                f"{self.options.artifacts} has no artifact of any system: name a package <stage>-<variant>.mlpackage, "
                "or give its variant a `published` name"
                if self.options.artifacts
                else "every system of the project is heavy: ask for --cases all"
            )
        return checks

    def workbench(self, check: Check) -> Workbench:
        """Return the workbench for a check. Module checks run in PyTorch, so any workbench of their system serves."""
        return self.bench(check.system, check.numerics, check.runtime)

    def bench(self, name: str, numerics: str, runtime: str = "") -> Workbench:
        """Return the workbench of a system for a runtime and numerics, or for the first chosen where none has them."""
        fitting = [known for known in self.runtimes if runtime in ("", known.name) and known.numerics == numerics]
        chosen = [*fitting, self.runtimes[0]][0]
        key = name, f"{chosen.name} {chosen.numerics}"
        if key not in self._benches:
            weights = self.weights(systems()[name])
            system = fitted(systems()[name], weights)
            folder = Path(self.options.artifacts) if self.options.artifacts else None
            self._benches[key] = Workbench(
                system,
                weights,
                self.goldens(system),
                Given(system, weights, folder) if folder else Built(system, weights, self.cache),
                chosen,
                self.gates(system),
                self.cache,
                self.options.compute_units,
            )
        return self._benches[key]

    def goldens(self, system: System) -> GoldenStore:
        """Return the truth of a system under the chosen weights. Systems that share a reference share the store."""
        weights = self.weights(system)
        key = digest({"reference": system.reference.name, "weights": dict(weights.identity)})
        if key not in self._stores:
            reference = dressed(system.reference, weights)
            self._stores[key] = GoldenStore(reference, self.project.golden_folder, self.cache, weights)
        return self._stores[key].within(system.scope)

    def forget_recorders(self) -> None:
        """Give up the memory of the models that goldens were recorded with; judging takes others."""
        for store in self._stores.values():
            store.forget_model()

    def gates(self, system: System) -> gates.Gates:
        """Return the gates of a system. A new system has none yet, and every output fails as ungated."""
        path = self.bounds(system, GATES)
        return gates.load(path) if path.exists() else gates.Gates(())

    def weights(self, system: System) -> Weights:
        if system.name not in self._weights:
            self._weights[system.name] = choose(system.reference, self.options.weights, self.cache)
        return self._weights[system.name]

    def bounds(self, system: System, name: str) -> Path:
        """Return the path of the bounds for the chosen weights: their own, or else those of the default ones."""
        room = self.project.golden_folder / system.name
        own = room / self.weights(system).folder / name
        return own if own.exists() else room / name

    def wanted(self, checks: Iterable[Check]) -> list[tuple[str, str, str]]:
        """Return the artifacts, as (system, stage, variant), that these checks need and that are not built yet.

        Of those that are one file, such as the methods of a program, it is the first.
        """
        needed = dict.fromkeys(
            (check.system, stage.name, variant.name)
            for check in checks
            for stage, variant in _needed(systems()[check.system], check)
        )
        missing: dict[str, tuple[tuple[bool, ...], tuple[str, str, str]]] = {}
        seen: Counter[tuple[str, str]] = Counter()
        for name, stage_name, variant_name in needed:
            bench = self.bench(name, self.options.numerics[0])
            stage = bench.system.stage(stage_name)
            variant = stage.variant(variant_name)
            if (
                not bench.artifacts.ready(stage, variant)
                and (key := bench.artifacts.key(stage, variant)) not in missing
            ):
                # What takes long first; what shares its weights with another when these are clustered; pipelines when
                # they can be.
                again = bool(stage.within) or seen[stage_name, variant_name] > 0
                order = bool(stage.parts), not variant.palettize and variant.format != "pte", again
                seen[stage_name, variant_name] += 1
                missing[key] = order, (name, stage_name, variant_name)
        return [needs for _, needs in sorted(missing.values(), key=itemgetter(0))]

    def unmeasured(self, checks: Iterable[Check]) -> list[Check]:
        """Return the checks that have no evidence yet. One whose evidence can't be told will say so when it runs."""
        return [check for check in checks if not self.workbench(check).measured(check)]

    def record(
        self,
        selected: Sequence[str],
        errors: Sequence[Errored] = (),
        skipped: Sequence[Skipped] = (),
        notes: Sequence[str] = (),
        left_out: Sequence[LeftOut] = (),
    ) -> RunRecord:
        """Return the record of this run, once all of its verdicts are in."""
        verdicts = tuple(run.collect(self.folder))
        planned = {check.id: check for check in self.plan()}
        lacking = {name: names for name, system in systems().items() if (names := self._given(system)[1])}
        partial = bool(lacking or left_out)
        not_given = (f"{name}, not in {self.options.artifacts}: {', '.join(names)}" for name, names in lacking.items())
        return RunRecord(
            id=self.run_id,
            started=self.started,
            seconds=round(time.monotonic() - self._clock, 1),
            commit=run.git(self.root, "rev-parse", "HEAD"),
            dirty=bool(run.git(self.root, "status", "--porcelain")),
            command=("pytest", *sys.argv[1:]),
            runtime=self.runtimes[0].name,
            numerics=tuple(dict.fromkeys(known.numerics for known in self.runtimes)),
            weights=self._sources(),
            cases=tuple(dict.fromkeys(case.name for system in self.systems().values() for case in self.cases(system))),
            partial=partial,
            machine=run.machine(),
            expected=tuple(planned[id] for id in selected),
            verdicts=verdicts,
            errors=tuple(errors),
            skipped=tuple(skipped),
            not_run_here=(*self._not_run(verdicts), *not_given),
            notes=(*notes, *self._notes(verdicts, partial)),
            left_out=tuple(left_out),
        )

    def _weighted(self) -> dict[str, System]:
        """Return the systems whose weights are there; checks of the others were not judged."""
        found = {}
        for name, system in self.systems().items():
            with suppress(WeightsError):
                self.weights(system)
                found[name] = system
        return found

    def _notes(self, verdicts: Sequence[Verdict], partial: bool) -> Iterator[str]:
        """Yield what is to be known of the systems beside their verdicts.

        That is what a system has from other weights, its bounds or its voice; each stage whose module is far from
        upstream and lacks an inner stage; bounds far looser than a run of every case measured, in which a bug could
        hide.
        """
        modules = [verdict for verdict in verdicts if verdict.check.mode == "module"]
        for name, system in self._weighted().items():
            weights = self.weights(system)
            if weights.folder and self.bounds(system, GATES).parent.name != weights.folder:
                yield (
                    f"{name}: judged by the bounds of the default weights; the checkpoint's own come from "
                    f"`parity calibrate {name} --weights {weights.option}`"
                )
            unnamed = [file for file in system.reference.published if file not in weights.files]
            if weights.path and unnamed:
                files = ",".join(f"{file}=FILE" for file in unnamed)
                yield f"{name}: no {', '.join(unnamed)} named, the seeded one stands in: --weights PATH,{files}"
            yield from far(measurements(modules, system, self.cache), system)
            whole = not partial and len(self.cases(system)) == len(system.reference.cases)
            if whole and (gates := self.gates(system)).gates:
                found = list(measurements(verdicts, system, self.cache))
                yield from (f"ratchet: {line}" for line in (slack(gates, found) if found else ()))

    def evidence(self, key: str) -> Path | None:
        """Return the folder of an evidence key, or None where it is gone."""
        return folder_of(self.cache, key)

    def _not_run(self, verdicts: Sequence[Verdict]) -> list[str]:
        left = [f"{name}: {why}" for name, system in systems().items() if (why := self._excluded(system))]
        if self._with_programs and all(known.format != "pte" for known in self.runtimes):
            why = executorch.unavailable() or "--runtime executorch runs them"
            left.append(f"programs of {', '.join(self._with_programs)}: {why}")
        judged = {verdict.check.system for verdict in verdicts}
        mine = {name: system for name, system in self.systems().items() if name in judged}
        for name, system in mine.items():
            if len(self.cases(system)) < len(system.reference.cases):
                unrun: dict[str, list[str]] = {}
                for stage in system.stages:
                    if large(stage):
                        which = " in variants that do not ship" if stretched(stage, every=False) else ""
                        unrun.setdefault(which, []).append(stage.name)
                left += [
                    f"{name}, the largest sizes of {' and '.join(stages)}{which}: they take long; --cases all runs them"
                    for which, stages in unrun.items()
                ]
        left += [f"{name}, {what}: {why}" for name, system in mine.items() for what, why in excused(system).items()]
        left += [
            f"{name}, trained weights: {', '.join(lacking(trained))} not installed; seeded weights stand in"
            for name, system in self._weighted().items()
            if (trained := system.reference.trained)
            and self.options.weights == AUTO
            and self.weights(system).source == "seeded"
        ]
        on_core_ml = any(verdict.check.runtime == "coreml" for verdict in verdicts)
        return left if on_core_ml else ["device placement and device RTFx: no Core ML on this machine", *left]

    def _sources(self) -> str:
        """Return the weights of this run: the file, or the sources of those of its systems."""
        sources = {self.weights(system).source: None for system in self._weighted().values()}
        return self.options.weights if "path" in sources or not sources else ", ".join(sources)


def unbuilt(system: System) -> list[str]:
    """Return the packages of an extra that this machine lacks and without which the system's modules can't be built."""
    reference = system.reference
    return libraries.absent(reference.extra, reference.packages) if reference.borrowed else []


def _needed(system: System, check: Check) -> Iterator[tuple[Stage, Variant]]:
    """Yield the artifacts that a check needs, and those that they are made of."""
    if check.mode == "exercised":
        return
    if check.mode == "chained":
        chosen = chain_sets(system)[check.variant]
    else:
        stage = system.stage(check.stage)
        chosen = {} if check.mode == "module" else {stage.name: stage.variant(check.variant)}
    for name, variant in chosen.items():
        stage = system.stage(name)
        yield stage, variant
        yield from composed(system, stage, variant)
