"""What budgets and baseline say of what was measured: a finding for each, and none passes for want of one."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from parity.base.toml import dotted
from parity.bench import regression
from parity.bench.baseline import Baseline
from parity.bench.machine import Machine, label
from parity.bench.stand import Cold, Measured
from parity.bench.subjects import Subject
from parity.bench.timing import Timing
from parity.declarations import System
from parity.judge import budgets
from parity.judge.budgets import DEVICE, KINDS, PLACEMENT_KINDS, Budget, Budgets, Profile, suggest
from parity.plan.checks import CHAIN
from parity.run.placement import Placement
from parity.verdict import Bound, Finding

RECORD = "pytest -m bench --bench-record"
NO_PROFILE = "NAME"


@dataclass(frozen=True)
class Suggestion:
    """An entry that budgets.toml lacks: which table, and the line to put there."""

    table: str
    line: str


@dataclass(frozen=True)
class Ruling:
    findings: tuple[Finding, ...]
    suggestions: tuple[Suggestion, ...] = ()

    @property
    def passed(self) -> bool:
        return bool(self.findings) and all(finding.passed for finding in self.findings)

    def explain(self) -> str:
        if not self.findings:
            return "nothing was judged, and nothing may pass so"
        return "\n".join(finding.line() for finding in self.findings if not finding.passed)


@dataclass(frozen=True)
class Bounds:
    """What measurements are held against on this machine. `source` names the file of budgets, for mends."""

    machine: Machine
    budgets: Budgets
    profile: Profile | None
    baseline: Baseline | None
    others: Sequence[str] = ()
    source: str = "budgets.toml"
    recording: bool = False

    def of_profile(self, *path: str) -> tuple[str, ...]:
        """The path of a budget of this machine's profile, whose name is still to be found where it has none."""
        return "profile", self.profile.name if self.profile else NO_PROFILE, *path

    def find(self, path: tuple[str, ...]) -> Budget | None:
        return self.budgets.by_name().get(".".join(path))


def speed(subject: Subject, measured: Measured, bounds: Bounds) -> Ruling:
    """A stage or the chain on one case: what it computed first, for the speed of anything else says nothing."""
    found = [outputs(subject, measured)]
    if not bounds.recording:
        found.append(against_baseline(subject, measured, bounds))
    timing = measured.timings[subject.stage]
    if timing.peer:
        return Ruling(tuple(found))
    kind = ("chain_ms",) if subject.stage == CHAIN else ("stage_ms", subject.stage)
    path = bounds.of_profile(*kind, str(measured.t_enc))
    if budget := bounds.find(path):
        return Ruling((*found, budget.check(timing.milliseconds)))
    return Ruling(tuple(found), _suggested(path, timing.milliseconds, f"{len(timing.seconds)} rounds"))


def overall(subject: Subject, measured: Sequence[Measured], bounds: Bounds) -> Ruling:
    """The speed over all cases of a run, as the machine's profile bounds it: ratios to PyTorch, or RTFx."""
    if not measured:
        raise ValueError(f"{subject.id}: no case was measured, and so there is nothing to rule on")
    chain = subject.stage == CHAIN
    cases = f"{len(measured)} case{'s' * (len(measured) > 1)}"
    timings = [one.timings[subject.stage] for one in measured]
    ratios = [timing.ratio for timing in timings if timing.ratio is not None]
    if ratios:
        path = bounds.of_profile("chain_ratio") if chain else bounds.of_profile("stage_ratio", subject.stage)
        rounds = sum(len(timing.seconds) for timing in timings)
        origin = f"geometric mean over {cases}, medians of {rounds} rounds, {label(bounds.machine)}"
        found = _bound(path, statistics.geometric_mean(ratios), origin, bounds)
    else:
        origin = f"mean over {cases}, {label(bounds.machine)}"
        found = _bound(bounds.of_profile("rtfx"), statistics.mean(one.rtfx for one in measured), origin, bounds)
    wrong = [outputs(subject, one) for one in measured]
    return Ruling((*found.findings, *(one for one in wrong if not one.passed)), found.suggestions)


def load(subject: Subject, cold: Cold, bounds: Bounds) -> Ruling:
    """What a user waits for once. Core ML compiles at the first load and keeps what it compiled; another runtime keeps
    nothing, so that each of its loads is a first one."""
    first = str(bounds.machine["runtime"]) in DEVICE
    seconds = cold.loads[0] if first else statistics.median(cold.loads)
    which = f"{'the first' if first else 'median'} of {len(cold.loads)} loads"
    return _bound(bounds.of_profile("load_s", subject.stage), seconds, f"{which}, {label(bounds.machine)}", bounds)


def size(subject: Subject, megabytes: float, bounds: Bounds) -> Ruling:
    whole = ("bundle", "size_mb")
    path = whole if subject.stage == whole[0] else ("artifact", subject.stage, subject.variant, "size_mb")
    return _bound(path, megabytes, "the files of the package", bounds)


def placement(subject: Subject, found: Placement, bounds: Bounds) -> Ruling:
    """Each bounded share of the estimated cost. Where none is bounded, nothing would notice a fallback."""
    table = ("placement", subject.stage, subject.variant)
    bounded = [kind for kind in PLACEMENT_KINDS if bounds.find((*table, kind))]
    if not found.shares:
        why = f"the compute plan of {subject.stage} {subject.variant} estimates no cost: nothing tells where it runs"
        return Ruling((Finding(f"{subject.stage}.{subject.variant}", "placement", False, message=why),))
    rulings = [
        _bound((*table, kind), found.shares.get(kind.removesuffix("_share"), 0.0), "the compute plan", bounds)
        for kind in bounded or PLACEMENT_KINDS
    ]
    findings = tuple(finding for ruling in rulings for finding in ruling.findings)
    return Ruling(findings, tuple(line for ruling in rulings for line in ruling.suggestions))


def outputs(subject: Subject, measured: Measured) -> Finding:
    """Whether each round computed what the gates want, in this stage or, for the chain, in any."""
    wrong = [
        fault for fault in measured.faults if subject.stage == CHAIN or fault.output.startswith(f"{subject.stage}.")
    ]
    if not wrong:
        return Finding(subject.stage, "outputs", True, message=f"within their gates in every round ({measured.case})")
    more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    said = f"what was timed computes something else on {measured.case}: {wrong[0].line()}{more}"
    return Finding(subject.stage, "outputs", False, message=said)


def against_baseline(subject: Subject, measured: Measured, bounds: Bounds) -> Finding:
    timing = measured.timings[subject.stage]
    now = statistics.median(timing.samples)
    fault = _incomparable(subject, measured, timing, bounds)
    if fault or bounds.baseline is None:
        return Finding(subject.stage, "baseline", False, now, message=fault)
    before = bounds.baseline.entries[subject.id]
    try:
        change = regression.compare(before.samples, timing.samples)
    except regression.TooFewSamples as error:
        return Finding(subject.stage, "baseline", False, now, message=str(error))
    bound = Bound("max", float(f"{before.median * regression.FACTOR:.4g}"), 0.0, timing.unit)
    said = f"{change.factor:.2f} × the baseline's {before.median:g} {timing.unit} on {measured.case} (p {change.p:.1g})"
    if change.slower:
        return Finding(subject.stage, "baseline", False, now, bound, f"slower: {said}")
    faster = f"faster: {said}; make it the baseline: {RECORD}" if change.faster else ""
    return Finding(subject.stage, "baseline", True, now, bound, faster)


def complete(system: System, bounds: Bounds, known: Sequence[str]) -> Ruling:
    """That nothing is left out of the budgets, and nothing left behind in the baseline."""
    found = [Finding(system.name, "complete", False, message=left) for left in _omissions(system, bounds, known)]
    whole = "each artifact has its budgets, and the baseline has nothing else than what is measured"
    return Ruling(tuple(found) or (Finding(system.name, "complete", True, message=whole),))


def _omissions(system: System, bounds: Bounds, known: Sequence[str]) -> Iterator[str]:
    """What nothing would notice otherwise: a machine or a stage without budgets, and a benchmark that was renamed or
    taken away, which would never be compared again."""
    if bounds.profile is None:
        machine = bounds.machine
        facts = ", ".join(f'{name} = "{machine[name]}"' for name in ("system", "model", "runtime") if machine[name])
        yield f"no device profile fits {label(machine)}: add a [profile.{NO_PROFILE}] to {bounds.source}, {facts}"
    yield from budgets.complete(bounds.budgets, system.stages, bounds.profile)
    for name in bounds.baseline.entries if bounds.baseline and not bounds.recording else ():
        if name not in known:
            yield f"the baseline has {name}, which nothing measures any more: if that is meant, {RECORD} takes it out"


def _incomparable(subject: Subject, measured: Measured, timing: Timing, bounds: Bounds) -> str:
    """Why there is nothing to compare with, and the mend; empty where there is."""
    if bounds.baseline is None:
        known = f"; there are those of {'; '.join(bounds.others)}" if bounds.others else ""
        return f"no baseline for this machine ({label(bounds.machine)}){known}. Record one: {RECORD}"
    before = bounds.baseline.entries.get(subject.id)
    if before is None:
        return f"the baseline of this machine has no {subject.id}: new or renamed? Record it: {RECORD} -k {subject.id}"
    if dict(before.sizes) != dict(measured.sizes):
        return (
            f"the baseline of {subject.id} was measured at {_sizes(before.sizes)}, this at {_sizes(measured.sizes)}: "
            f"record it again: {RECORD}"
        )
    if before.unit != timing.unit:
        return f"the baseline of {subject.id} is in {before.unit}, this in {timing.unit}: record it again: {RECORD}"
    return ""


def _sizes(sizes: dict[str, int] | object) -> str:
    assert isinstance(sizes, dict)
    return ", ".join(f"{name} {size}" for name, size in sizes.items()) or "no dynamic size"


def _bound(path: tuple[str, ...], value: float, origin: str, bounds: Bounds) -> Ruling:
    if budget := bounds.find(path):
        return Ruling((budget.check(value),))
    kind = _kind(path)
    subject = ".".join(name for name in path[2:] if name != kind) if path[0] == "profile" else ".".join(path[1:-1])
    why = f"{kind} {value:.4g}: no budget bounds it; set {'.'.join(path)} in {bounds.source}"
    finding = Finding(subject or CHAIN, kind, False, value, message=why)
    return Ruling((finding,), _suggested(path, value, origin))


def _suggested(path: tuple[str, ...], value: float, origin: str) -> tuple[Suggestion, ...]:
    kind = _kind(path)
    if not KINDS[kind].possible(value):
        return ()
    at = path.index(kind)
    table, key = (path[:at], path[at:]) if len(path) - at == 1 else (path[: at + 1], path[at + 1 :])
    return (Suggestion(dotted(table), f"{dotted(key)} = {suggest(kind, value, origin)}"),)


def _kind(path: tuple[str, ...]) -> str:
    return path[2] if path[0] == "profile" else path[-1]
