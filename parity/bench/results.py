"""Results: findings of budgets and baseline for each benchmark; a benchmark without findings does not pass."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from parity.base.toml import dotted
from parity.bench import regression
from parity.bench.baseline import Baseline
from parity.bench.benchmarks import BUNDLE, Benchmark
from parity.bench.machine import Machine, label
from parity.bench.timer import Measured
from parity.bench.timing import Timing
from parity.declarations import System
from parity.judge import budgets
from parity.judge.budgets import DEVICE, KINDS, PLACEMENT_KINDS, Budget, Budgets, Profile, suggest
from parity.plan.checks import CHAIN, Deployed
from parity.run.placement import Placement
from parity.verdict import Bound, Finding

RECORD = "pytest -m bench --bench-record"
NO_PROFILE = "NAME"


@dataclass(frozen=True)
class Suggestion:
    """An entry that budgets.toml lacks: the table, and the line to put there."""

    table: str
    line: str


@dataclass(frozen=True)
class Result:
    """The findings of one benchmark, and the budgets that it lacks."""

    findings: tuple[Finding, ...]
    suggestions: tuple[Suggestion, ...] = ()

    @property
    def passed(self) -> bool:
        return bool(self.findings) and all(finding.passed for finding in self.findings)

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
    timing = measured.timings[benchmark.stage]
    if timing.ratios:
        return Result(tuple(found))
    kind = ("chain_ms",) if benchmark.stage == CHAIN else ("stage_ms", benchmark.stage)
    path = limits.of_profile(*kind, str(measured.t_enc))
    if budget := limits.find(path):
        return Result((*found, budget.check(timing.milliseconds)))
    return Result(tuple(found), _suggested(path, timing.milliseconds, f"{measured.rounds} rounds"))


def overall(benchmark: Benchmark, found: Sequence[tuple[Measured, Sequence[Finding]]], limits: Limits) -> Result:
    """Judge the speed over all cases of a run by the machine's profile: by ratios to PyTorch, or by RTFx."""
    if not found:
        raise ValueError(f"{benchmark.id}: no case was measured: select one")
    chain, measured = benchmark.stage == CHAIN, [one for one, _ in found]
    cases = f"{len(measured)} case{'s' * (len(measured) > 1)}"
    timings = [one.timings[benchmark.stage] for one in measured]
    ratios = [timing.ratio for timing in timings if timing.ratio is not None]
    if ratios:
        path = limits.of_profile("chain_ratio") if chain else limits.of_profile("stage_ratio", benchmark.stage)
        samples = sum(len(timing.ratios) for timing in timings)
        origin = f"geometric mean over {cases}, medians of {samples} samples, {label(limits.machine)}"
        result = _bound(path, statistics.geometric_mean(ratios), origin, limits)
    else:
        origin = f"mean over {cases}, {label(limits.machine)}"
        result = _bound(limits.of_profile("rtfx"), statistics.mean(one.rtfx for one in measured), origin, limits)
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
    whole = ("program", ships.program, "size_mb") if ships.whole else (BUNDLE, "size_mb")
    path = whole if benchmark.stage == BUNDLE else ("artifact", benchmark.stage, benchmark.variant, "size_mb")
    return _bound(path, megabytes, f"the files of the {'program' if ships.whole else 'package'}", limits)


def placement(benchmark: Benchmark, found: Placement, limits: Limits) -> Result:
    """Judge each bounded share of the estimated cost. If none is bounded, each is reported as missing."""
    table = ("placement", benchmark.stage, benchmark.variant)
    bounded = [kind for kind in PLACEMENT_KINDS if limits.find((*table, kind))]
    if not found.shares:
        why = (
            f"the compute plan of {benchmark.stage} {benchmark.variant} estimates no cost: nothing tells where it runs"
        )
        return Result((Finding(f"{benchmark.stage}.{benchmark.variant}", "placement", False, message=why),))
    results = [
        _bound((*table, kind), found.shares.get(kind.removesuffix("_share"), 0.0), "the compute plan", limits)
        for kind in bounded or PLACEMENT_KINDS
    ]
    findings = tuple(finding for result in results for finding in result.findings)
    return Result(findings, tuple(line for result in results for line in result.suggestions))


def outputs(benchmark: Benchmark, measured: Measured, faults: Sequence[Finding]) -> Finding:
    """Find out if each round computed what the gates want, in this stage or, for the chain, in any."""
    stage = benchmark.stage
    wrong = [fault for fault in faults if stage == CHAIN or fault.output.startswith(f"{stage}.")]
    if not wrong:
        return Finding(stage, "outputs", True, message=f"within their gates in every round ({measured.case})")
    more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    said = f"what was timed computes something else on {measured.case}: {wrong[0].line()}{more}"
    return Finding(stage, "outputs", False, message=said)


def complete(system: System, ships: Deployed, limits: Limits, known: Sequence[str]) -> Result:
    """Judge that nothing is left out of the budgets, and nothing left behind in the baseline."""
    found = [Finding(system.name, "complete", False, message=left) for left in _omissions(system, ships, limits, known)]
    whole = "each artifact has its budgets, and the baseline has nothing else than what is measured"
    return Result(tuple(found) or (Finding(system.name, "complete", True, message=whole),))


def _omissions(system: System, ships: Deployed, limits: Limits, known: Sequence[str]) -> Iterator[str]:
    """Return omissions: a machine or a stage without budgets, and a benchmark that was renamed or removed."""
    if limits.profile is None:
        machine = limits.machine
        facts = ", ".join(f'{name} = "{machine[name]}"' for name in ("system", "model", "runtime") if machine[name])
        yield f"no device profile fits {label(machine)}: add a [profile.{NO_PROFILE}] to {limits.source}, {facts}"
    yield from budgets.complete(limits.budgets, system.stages, limits.profile, ships)
    for name in limits.baseline.entries if limits.baseline else ():
        if name not in known:
            yield f"the baseline has {name}, which nothing measures any more: if that is meant, {RECORD} takes it out"


def _against(baseline: Baseline, benchmark: Benchmark, measured: Measured) -> Finding:
    """Compare the speed with the machine's baseline."""
    stage, timing = benchmark.stage, measured.timings[benchmark.stage]
    now = statistics.median(timing.samples)
    if fault := _incomparable(baseline, benchmark, measured, timing):
        return Finding(stage, "baseline", False, now, message=fault)
    before, least = baseline.entries[benchmark.id], _jitter(measured, stage)
    try:
        change = regression.compare(before.samples, timing.samples, least)
    except regression.TooFewSamples as error:
        return Finding(stage, "baseline", False, now, message=str(error))
    most = max(before.median * regression.FACTOR, before.median + least)
    bound = Bound("max", float(f"{most:.4g}"), 0.0, timing.unit)
    said = f"{change.factor:.2f} × the baseline's {before.median:g} {timing.unit} on {measured.case} (p {change.p:.1g})"
    if change.slower:
        return Finding(stage, "baseline", False, now, bound, f"slower: {said}")
    faster = f"faster: {said}; make it the baseline: {RECORD}" if change.faster else ""
    return Finding(stage, "baseline", True, now, bound, faster)


def _jitter(measured: Measured, stage: str) -> float:
    """Return the jitter of all calls of a stage, or of the chain's, in the unit of its samples."""
    calls = [measured.steps[name].count if name in measured.steps else 1 for name in measured.timings if name != CHAIN]
    count = sum(calls) if stage == CHAIN else measured.steps[stage].count if stage in measured.steps else 1
    timing = measured.timings[stage]
    share = 1e3 * regression.JITTER * count / timing.milliseconds
    return share * statistics.median(timing.samples)


def _incomparable(baseline: Baseline, benchmark: Benchmark, measured: Measured, timing: Timing) -> str:
    """Return why there is nothing to compare with, and what to do; empty if there is."""
    before, name = baseline.entries.get(benchmark.id), benchmark.id
    if before is None:
        return f"the baseline of this machine has no {name}: new or renamed? Record it: {RECORD} -k {name}"
    if dict(before.sizes) != dict(measured.sizes):
        return (
            f"the baseline of {name} was measured at {_sizes(before.sizes)}, this at {_sizes(measured.sizes)}: "
            f"record it again: {RECORD}"
        )
    if before.unit != timing.unit:
        return f"the baseline of {name} is in {before.unit}, this in {timing.unit}: record it again: {RECORD}"
    return ""


def _sizes(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {size}" for name, size in sizes.items()) or "no dynamic size"


def _bound(path: tuple[str, ...], value: float, origin: str, limits: Limits) -> Result:
    if budget := limits.find(path):
        return Result((budget.check(value),))
    kind = _kind(path)
    about = ".".join(name for name in path[2:] if name != kind) if path[0] == "profile" else ".".join(path[1:-1])
    why = f"{kind} {value:.4g}: no budget bounds it; set {'.'.join(path)} in {limits.source}"
    finding = Finding(about or CHAIN, kind, False, value, message=why)
    return Result((finding,), _suggested(path, value, origin))


def _suggested(path: tuple[str, ...], value: float, origin: str) -> tuple[Suggestion, ...]:
    kind = _kind(path)
    if not KINDS[kind].possible(value):
        return ()
    at = path.index(kind)
    table, key = (path[:at], path[at:]) if len(path) - at == 1 else (path[: at + 1], path[at + 1 :])
    return (Suggestion(dotted(table), f"{dotted(key)} = {suggest(kind, value, origin)}"),)


def _kind(path: tuple[str, ...]) -> str:
    return path[2] if path[0] == "profile" else path[-1]
