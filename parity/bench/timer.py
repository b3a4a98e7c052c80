"""One system, timed stage by stage in rounds of its chain: each artifact, and beside it the same stage in PyTorch.

The stages are timed on what the stages before them gave, as deployed, so that the chain's time is the sum of theirs and
of the host's. The outputs are judged by the gates: the speed of an artifact with wrong outputs means nothing.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np

from parity.base.fingerprint import code, digest
from parity.bench import round as rounded
from parity.bench.record import CaseTimes, StepTimes
from parity.bench.round import EAGER, Compared, Round, StageTimes
from parity.bench.timing import Clock, Effort, Timing, in_turns, rounds, steadied, undisturbed
from parity.declarations import Arrays, Case, Dim, Golden, Stage, System, Variant
from parity.judge.budgets import ANYWHERE
from parity.judge.workbench import Workbench
from parity.plan.checks import CHAIN
from parity.run.chain import Chain
from parity.run.runtime import Crosser, fitting
from parity.verdict import Finding

LOADS = 3
COMPARED = 16
"""Steps of one round at which others run beside the artifact: each gives a sample, and more would add nothing."""
LONGER = 3
WITHIN = frozenset({"milrun"})
"""Runtimes that compute in one thread of this process."""
Timed = tuple[float, dict[str, np.ndarray]]
"""The seconds of one run of a stage, and its outputs."""


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

    def faults(self, bench: Workbench) -> list[Finding]:
        """Return what breaks the contract, or the gates of one of the systems that have these outputs."""
        found: dict[Finding, None] = {}
        for contract, values in self.compared:
            findings = (*contract, *bench.judged(CHAIN, bench.deployed.name, values))
            found.update((finding, None) for finding in findings if not finding.passed)
        return list(found)


class SystemTimer:
    """Measures one system; or several that have the same artifacts, glue and cases, and so the same times.

    Nothing is loaded before it is asked for, and nothing is measured twice. `timed` says which stages of a case are to
    be compared with what runs beside them; those beside the path that are not among them do not run at all. `cases` has
    what was measured so far, `first_runs` the seconds of the first run after the first load, of each stage that ran.
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
        self._extended: set[str] = set()
        self.cases: dict[str, Measured] = {}
        self._module = cache(lambda name: bench.module(bench.system.stage(name)))

    @property
    def peer(self) -> bool:
        """True to time eager PyTorch alongside. Absolute times are not comparable across machines; ratios are."""
        return self.bench.runtime.name in ANYWHERE

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
        """Measure a case again and for longer, once, and count the rounds so far as well."""
        if case.name not in self._extended:
            self._extended.add(case.name)
            self._measure(case, replace(self.effort, seconds=LONGER * self.effort.seconds))

    def close(self) -> None:
        for artifact in self._artifacts.values():
            artifact.session.close()
        self._artifacts.clear()
        self._module.cache_clear()

    def _measure(self, case: Case, effort: Effort) -> None:
        timed, golden = frozenset(self._timed(case)), self.bench.goldens.load(case)
        compared = self._compared.setdefault(case.name, {})
        every = {stage.name: 1 for stage in self.bench.system.stages if stage.name in timed and not stage.stepped}

        def run(number: int) -> Round:
            made, computed = self._round(case, golden, timed, every, number)
            # Most rounds give the bits of an earlier one.
            if (key := rounded.digest(computed, made.stages)) not in compared:
                compared[key] = rounded.compare(self.bench, computed, made.stages)
            return made

        def enough(found: list[Round]) -> bool:
            taken = [sum(len(made.ratios(name)) for made in found) for name in timed] if self.peer else [len(found)]
            return min(taken, default=len(found)) >= effort.samples

        with undisturbed():
            warm = run(0)
            every |= {name: max(1, len(warm.stages[name].steps) // COMPARED) for name in timed}
            found = self._rounds.setdefault(case.name, [])
            found += rounds(run, effort, enough, self.clock)
        self.cases[case.name] = _measured(self.bench, case, found, tuple(compared.values()))

    def _round(
        self, case: Case, golden: Golden, timed: Collection[str], every: Mapping[str, int], number: int
    ) -> tuple[Round, Chain]:
        """Run the chain once; return its times, and all that it computed.

        Others run beside the stages that `every` names, at steps of this distance.
        """
        system, made = self.bench.system, Round(self.bench.system, self.bench.deployed.variants)
        left_out = {stage.name for stage in system.stages if stage.aside}.difference(timed)

        def execute(name: str, inputs: Arrays) -> dict[str, np.ndarray]:
            began, stage = self._now(), system.stage(name)
            outputs = self._run(made, stage, inputs, every.get(name, 0), number)
            made.note(stage, inputs, outputs)
            made.host -= self._now() - began
            return outputs

        run = _Selected(system, golden, self.bench.tables(case), execute)
        run.left_out = left_out
        began = self._now()
        system.chain(run, case)
        made.host = max(made.host + self._now() - began, 0.0)
        if never := [stage.name for stage in system.stages if stage.name not in {*made.stages, *left_out}]:
            raise ValueError(f"{system.name}, case {case.name}: the chain never ran {', '.join(never)}: mend its glue")
        made.audio_seconds = made.heard(run)
        return made, run

    def _run(self, made: Round, stage: Stage, inputs: Arrays, every: int, number: int) -> dict[str, np.ndarray]:
        """Run a stage, in turns with what it is compared with, and give the outputs of the artifact that ships."""
        times, ships = made.stages.setdefault(stage.name, StageTimes()), made.ships[stage.name]
        runs: dict[str, Callable[[], Timed]] = {ships.name: partial(self._artifact, stage, ships, inputs)}
        compared = every > 0 and len(times.steps) % every == 0
        if compared:
            others = alternatives(stage, ships) if self.effort.alternatives else []
            runs |= {variant.name: partial(self._artifact, stage, variant, inputs) for variant in others}
            runs |= {EAGER: self._eager(stage, inputs)} if self.peer else {}
        if not stage.stepped:  # a stage of many steps is steady by their number
            runs = {name: partial(steadied, run) for name, run in runs.items()}
        done = in_turns(runs, number + len(times.beside))
        seconds, outputs = done[ships.name]
        times.steps.append(seconds)
        if compared:
            times.beside.append({name: taken for name, (taken, _) in done.items()})
        if stage.stepped:
            times.bucket = fitting(stage, inputs).bucket
        return outputs

    def _artifact(self, stage: Stage, variant: Variant, inputs: Arrays) -> Timed:
        key, began = (stage.name, variant.name), self._waited()
        if key not in self._artifacts:
            self._artifacts[key] = Crosser(stage, variant, self.bench.session(stage, variant))
        artifact = self._artifacts[key]
        outputs = artifact(inputs)
        seconds = float(artifact.session.run_seconds) - (self._waited() - began)
        if variant == self.bench.deployed.variants[stage.name]:
            self.first_runs.setdefault(stage.name, seconds)
        return seconds, outputs

    def _eager(self, stage: Stage, inputs: Arrays) -> Callable[[], Timed]:
        """Run the traceable module on the same inputs, in fp32."""
        import torch

        module = self._module(stage.name)
        given = [inputs[name] for name in stage.inputs]
        wide = [np.array(x, np.float32 if x.dtype == np.float16 else x.dtype, order="C") for x in given]
        tensors = [torch.from_numpy(x) for x in wide]

        def run() -> Timed:
            with torch.inference_mode():
                began = self._now()
                module(*tensors)
                return self._now() - began, {}

        return run

    def _now(self) -> float:
        return self.clock() - self._waited()

    def _waited(self) -> float:
        """Return the seconds that do not count. Where work runs in other processes, all seconds count."""
        return self.clock.waited() if self.bench.runtime.name in WITHIN else 0.0


class _Selected(Chain):
    """A chain in which some stages beside the path do not run."""

    left_out: Collection[str] = ()

    def __call__(self, stage: str, inputs: Arrays) -> Mapping[str, np.ndarray]:
        return {} if stage in self.left_out else super().__call__(stage, inputs)


def alternatives(stage: Stage, ships: Variant) -> list[Variant]:
    """Return the variants that compute as the shipping one does, with other weights: whole, palettized, quantized."""

    def way(variant: Variant) -> tuple[object, ...]:
        return variant.format, variant.precision, variant.holds

    return [variant for variant in stage.variants if variant != ships and way(variant) == way(ships)]


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
