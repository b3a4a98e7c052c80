"""Results: findings of budgets and baseline for each benchmark; a benchmark without findings does not pass."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from parity.base.toml import dotted
from parity.bench.baseline import FACTOR, JITTER, Baseline, BaselineError, Entry, Machine, compare, label
from parity.bench.measurements import BUNDLE, Benchmark
from parity.bench.record import passed
from parity.bench.timer import Measured
from parity.declarations import System
from parity.judge import budgets
from parity.judge.budgets import DEVICE, KINDS, PLACEMENT_KINDS, Budget, Budgets, Profile, suggest
from parity.plan.checks import CHAIN, Deployed
from parity.run.placement import Placement
from parity.verdict import Bound, Finding

RECORD = "pytest -m bench --bench-record"
NO_PROFILE = "NAME"


@dataclass(frozen=True)
class Result:
    """The findings of one benchmark, and the budgets that it lacks: the table of each, and the line to put there."""

    findings: tuple[Finding, ...]
    suggestions: tuple[tuple[str, str], ...] = ()

    @property
    def passed(self) -> bool:
        return passed(self.findings)

    def explain(self) -> str:
        if not self.findings:
            return "nothing was judged, and nothing may pass so"
        return "\n".join(finding.line() for finding in self.findings if not finding.passed)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The budgets and the baseline that hold for one system on this machine. `source` names the file of budgets.

    Without a `baseline`, speed is judged by its ratio to eager alone.
    """

    machine: Machine
    budgets: Budgets
    profile: Profile | None
    baseline: Baseline | None
    source: str = "budgets.toml"

    def of_profile(self, *path: str) -> tuple[str, ...]:
        return "profile", self.profile.name if self.profile else NO_PROFILE, *path

    def find(self, path: tuple[str, ...]) -> Budget | None:
        return self.budgets.by_name().get(".".join(path))


def speed(benchmark: Benchmark, measured: Measured, faults: Sequence[Finding], limits: Limits) -> Result:
    """Judge a stage or the chain on one case: first its outputs, for the speed of a wrong output means nothing."""
    found = [outputs(benchmark, measured, faults)]
    if limits.baseline is not None:
        found.append(_against(limits.baseline, benchmark, measured))
    timing, times = measured.timings[benchmark.stage], measured.times
    if timing.ratios:
        return Result(tuple(found))
    kind = ("chain_ms",) if benchmark.stage == CHAIN else ("stage_ms", benchmark.stage)
    path = limits.of_profile(*kind, str(times.t_enc))
    if budget := limits.find(path):
        return Result((*found, budget.check(timing.milliseconds)))
    return Result(tuple(found), _suggested(path, kind[0], timing.milliseconds, f"{times.rounds} rounds"))


def overall(benchmark: Benchmark, found: Sequence[tuple[Measured, Sequence[Finding]]], limits: Limits) -> Result:
    """Judge the speed over all cases of a run by the machine's profile: by ratios to PyTorch, or by RTFx."""
    if not found:
        raise ValueError(f"{benchmark.id}: no case was measured: select one")
    cases = f"{len(found)} case{'s' * (len(found) > 1)}"
    timings = [one.timings[benchmark.stage] for one, _ in found]
    if ratios := [timing.ratio for timing in timings if timing.ratio is not None]:
        path = ("chain_ratio",) if benchmark.stage == CHAIN else ("stage_ratio", benchmark.stage)
        samples = sum(len(timing.ratios) for timing in timings)
        value, origin = statistics.geometric_mean(ratios), f"geometric mean over {cases}, medians of {samples} samples"
    else:
        path, origin = ("rtfx",), f"mean over {cases}"
        value = statistics.mean(one.times.rtfx for one, _ in found)
    result = _bound(limits.of_profile(*path), value, f"{origin}, {label(limits.machine)}", limits)
    wrong = [outputs(benchmark, one, faults) for one, faults in found]
    return Result((*result.findings, *(one for one in wrong if not one.passed)), result.suggestions)


def load(benchmark: Benchmark, loads: Sequence[float], limits: Limits) -> Result:
    """Judge the load time. Core ML compiles at the first load and keeps the result; other runtimes keep nothing, so
    that each of their loads is a first one."""
    first = str(limits.machine["runtime"]) in DEVICE
    seconds = loads[0] if first else statistics.median(loads)
    which = f"{'the first' if first else 'median'} of {len(loads)} loads"
    return _bound(limits.of_profile("load_s", benchmark.stage), seconds, f"{which}, {label(limits.machine)}", limits)


def size(benchmark: Benchmark, megabytes: float, limits: Limits, ships: Deployed) -> Result:
    path: tuple[str, ...] = ("artifact", benchmark.stage, benchmark.variant)
    if benchmark.stage == BUNDLE:
        path = ("program", ships.program) if ships.whole else (BUNDLE,)
    return _bound((*path, "size_mb"), megabytes, f"the files of the {'program' if ships.whole else 'package'}", limits)


def placement(benchmark: Benchmark, found: Placement, limits: Limits) -> Result:
    """Judge each bounded share of the estimated cost. If none is bounded, each is reported as missing."""
    stage, variant = benchmark.stage, benchmark.variant
    if not found.shares:
        why = f"the compute plan of {stage} {variant} estimates no cost: nothing tells where it runs"
        return Result((Finding(f"{stage}.{variant}", "placement", False, message=why),))
    paths = [("placement", stage, variant, kind) for kind in PLACEMENT_KINDS]
    shares = {path: found.shares.get(path[-1].removesuffix("_share"), 0.0) for path in paths}
    asked = [path for path in paths if limits.find(path)] or paths
    results = [_bound(path, shares[path], "the compute plan", limits) for path in asked]
    findings = tuple(finding for result in results for finding in result.findings)
    return Result(findings, tuple(line for result in results for line in result.suggestions))


def outputs(benchmark: Benchmark, measured: Measured, faults: Sequence[Finding]) -> Finding:
    """Find out if each round computed what the gates want, in this stage or, for the chain, in any."""
    stage, case = benchmark.stage, measured.times.case
    wrong = [fault for fault in faults if stage == CHAIN or fault.output.startswith(f"{stage}.")]
    if not wrong:
        return Finding(stage, "outputs", True, message=f"within their gates in every round ({case})")
    more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    said = f"what was timed computes something else on {case}: {wrong[0].line()}{more}"
    return Finding(stage, "outputs", False, message=said)


def complete(system: System, ships: Deployed, limits: Limits, known: Sequence[str]) -> Result:
    """Judge that nothing is left out of the budgets, and nothing left behind in the baseline."""
    left = budgets.complete(limits.budgets, system.stages, limits.profile, ships)
    if limits.profile is None:
        machine = limits.machine
        facts = ", ".join(f'{name} = "{machine[name]}"' for name in ("system", "model", "runtime") if machine[name])
        none = f"no device profile fits {label(machine)}: add a [profile.{NO_PROFILE}] to {limits.source}, {facts}"
        left = [none, *left]
    gone = [name for name in (limits.baseline.benchmark if limits.baseline else ()) if name not in known]
    taken = f"which nothing measures any more: if that is meant, {RECORD} takes it out"
    left += [f"the baseline has {name}, {taken}" for name in gone]
    whole = "each artifact has its budgets, and the baseline has nothing else than what is measured"
    found = [Finding(system.name, "complete", False, message=one) for one in left]
    return Result(tuple(found) or (Finding(system.name, "complete", True, message=whole),))


def _against(baseline: Baseline, benchmark: Benchmark, measured: Measured) -> Finding:
    """Compare the speed with the machine's baseline."""
    stage, timing, times = benchmark.stage, measured.timings[benchmark.stage], measured.times
    now, least = statistics.median(timing.samples), _jitter(measured, stage)
    try:
        before = _comparable(baseline, benchmark.id, times.sizes, timing.unit)
        change = compare(before.samples, timing.samples, least)
    except BaselineError as error:
        return Finding(stage, "baseline", False, now, message=str(error))
    most = max(before.median * FACTOR, before.median + least)
    bound = Bound("max", float(f"{most:.4g}"), 0.0, timing.unit)
    said = f"{change.factor:.2f} × the baseline's {before.median:g} {timing.unit} on {times.case} (p {change.p:.1g})"
    if change.slower:
        return Finding(stage, "baseline", False, now, bound, f"slower: {said}")
    faster = f"faster: {said}; make it the baseline: {RECORD}" if change.faster else ""
    return Finding(stage, "baseline", True, now, bound, faster)


def _jitter(measured: Measured, stage: str) -> float:
    """Return the jitter of all calls of a stage, or of the chain's, in the unit of its samples."""
    steps, timing = measured.times.steps, measured.timings[stage]
    stages = list(measured.times.stage_ms) if stage == CHAIN else [stage]
    count = sum(steps[name].count if name in steps else 1 for name in stages)
    return 1e3 * JITTER * count / timing.milliseconds * statistics.median(timing.samples)


def _comparable(baseline: Baseline, name: str, sizes: Mapping[str, int], unit: str) -> Entry:
    """Return the entry of a benchmark; raise why there is nothing to compare with, and what to do."""
    before = baseline.benchmark.get(name)
    if before is None:
        raise BaselineError(
            f"the baseline of this machine has no {name}: new or renamed? Record it: {RECORD} -k {name}"
        )
    if before.sizes != dict(sizes):
        was, now = (
            ", ".join(f"{dim} {size}" for dim, size in one.items()) or "no dynamic size"
            for one in (before.sizes, sizes)
        )
        differs = f"was measured at {was}, this at {now}"
    elif before.unit != unit:
        differs = f"is in {before.unit}, this in {unit}"
    else:
        return before
    raise BaselineError(f"the baseline of {name} {differs}: record it again: {RECORD}")


def _bound(path: tuple[str, ...], value: float, origin: str, limits: Limits) -> Result:
    if budget := limits.find(path):
        return Result((budget.check(value),))
    profiled = path[0] == "profile"
    kind, about = (path[2], ".".join(path[3:])) if profiled else (path[-1], ".".join(path[1:-1]))
    why = f"{kind} {value:.4g}: no budget bounds it; set {'.'.join(path)} in {limits.source}"
    finding = Finding(about or CHAIN, kind, False, value, message=why)
    return Result((finding,), _suggested(path, kind, value, origin))


def _suggested(path: tuple[str, ...], kind: str, value: float, origin: str) -> tuple[tuple[str, str], ...]:
    possible = KINDS[kind].possible(value)
    return ((dotted(path[:-1]), f"{dotted(path[-1:])} = {suggest(kind, value, origin)}"),) if possible else ()
