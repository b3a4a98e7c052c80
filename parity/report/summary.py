"""A run record as a reader wants it: by system and stage, worst first, and in words that say what was proven."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cached_property
from operator import attrgetter
from pathlib import Path

from parity.base.text import many
from parity.bench.record import BenchRecord, machine
from parity.record.run import Errored, Excerpt, RunRecord, excerpt
from parity.verdict import UNBLAMED, Check, Finding, Verdict, comparison, share

UPSTREAM = ("module", "exercised")
"""Modes that run no artifact."""
Evidence = Callable[[str], Path | None]
"""Gives the folder of an evidence key, or None where it is gone."""
Trends = dict[str, list[float | None]]
"""By `SYSTEM STAGE GATE`: the largest share of the bound in each run, oldest first; None where there is none."""


@dataclass(frozen=True)
class Group:
    """The checks of one stage, or of one system where `stage` is empty: verdicts, and those that have none."""

    system: str
    stage: str
    verdicts: tuple[Verdict, ...]
    errors: tuple[Check, ...] = ()
    missing: tuple[Check, ...] = ()

    @property
    def failed(self) -> tuple[Verdict, ...]:
        return tuple(verdict for verdict in self.verdicts if not verdict.passed)

    @property
    def passed(self) -> bool:
        return bool(self.verdicts) and not (self.failed or self.errors or self.missing)

    @property
    def artifacts(self) -> int:
        """The number of built files; a chain has none of its own."""
        checks = (verdict.check for verdict in self.verdicts if verdict.check.mode not in (*UPSTREAM, "chained"))
        return len({(check.stage, check.variant) for check in checks})

    @property
    def counts(self) -> list[tuple[str, int, str]]:
        """Symbol, number and word for the checks that passed, and for those that did not, as far as there are any."""
        others = (
            ("✗", len(self.failed), "failed"),
            ("!", len(self.errors), "raised"),
            ("?", len(self.missing), "gave no verdict"),
        )
        return [("✓", len(self.verdicts) - len(self.failed), "passed"), *(one for one in others if one[1])]

    @property
    def lost(self) -> int:
        """The number of checks without a verdict."""
        return len(self.errors) + len(self.missing)

    @cached_property
    def closest(self) -> tuple[Verdict, Finding] | None:
        """The finding that uses up most of its bound, a broken one before any other."""
        pairs = [(verdict, finding) for verdict in self.verdicts for finding in verdict.findings]
        return max(pairs, key=lambda pair: badness(pair[1]), default=None)

    @property
    def gates(self) -> list[tuple[Verdict, Finding]]:
        """The worst finding of each gate that has a number, worst first."""
        found: dict[str, tuple[Verdict, Finding]] = {}
        for verdict in self.verdicts:
            for one in verdict.findings:
                if one.value is not None and (one.gate not in found or badness(one) > badness(found[one.gate][1])):
                    found[one.gate] = verdict, one
        return sorted(found.values(), key=lambda pair: badness(pair[1]), reverse=True)


def badness(finding: Finding) -> tuple[float, float]:
    """Return a sort key of findings: broken ones last, then by the used share of the bound."""
    used = share(finding)
    return (0.0 if finding.passed else 1.0, (0.0 if finding.passed else math.inf) if used is None else used)


def worst(findings: Iterable[Finding]) -> list[Finding]:
    return sorted(findings, key=badness, reverse=True)


def by_output(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for finding in findings:
        found.setdefault(finding.output, []).append(finding)
    return found


def systems(record: RunRecord) -> list[Group]:
    """Return one group per system, in the order of the record."""
    return _groups(record, staged=False)


def stages(record: RunRecord) -> list[Group]:
    """Return one group per stage, worst first: failed ones, then those nearest to a bound."""

    def key(group: Group) -> tuple[bool, float, int]:
        used = badness(group.closest[1])[1] if group.closest else 0.0
        return (not group.passed, used, len(group.failed) + group.lost)

    return sorted(_groups(record, staged=True), key=key, reverse=True)


def strays(record: RunRecord) -> list[Errored]:
    """Return the errors that are not of an expected check, such as those of other tests and of the gate."""
    ids = {check.id for check in record.expected}
    return [error for error in record.errors if error.id not in ids]


def without_verdict(record: RunRecord) -> dict[str, str]:
    """Return each check that raised or never came: id and reason."""
    raised = {error.id: f"raised: {error.message}" for error in record.errors}
    return raised | {check.id: why for check, why in record.missing.items()}


def worst_first(verdicts: Iterable[Verdict]) -> list[Verdict]:
    def key(verdict: Verdict) -> tuple[bool, tuple[float, float]]:
        return (not verdict.passed, max(map(badness, verdict.findings), default=(1.0, math.inf)))

    return sorted(verdicts, key=key, reverse=True)


def proven(record: RunRecord, verdicts: Sequence[Verdict] | None = None) -> str:
    """Return what a pass of these verdicts proves, by the runtime. A pass on milrun is never a device pass."""
    chosen = record.verdicts if verdicts is None else verdicts
    checked = [verdict.check for verdict in chosen if verdict.check.mode not in UPSTREAM]
    if not checked:
        return "module pass (no artifact was checked)" if chosen else "nothing proven"
    machine = record.machine.get("system", "unknown")
    stand_in = f"graph pass (coremltools' interface on {machine}, no Core ML behind it)"
    said = []
    for runtime in dict.fromkeys(check.runtime for check in checked):
        numerics = " + ".join(dict.fromkeys(check.numerics for check in checked if check.runtime == runtime))
        kinds = {
            "milrun": f"graph pass (milrun, {numerics})",
            "coreml": "device pass (Core ML)" if machine == "Darwin" else stand_in,
            "executorch": "program pass (ExecuTorch)",
        }
        said.append(kinds.get(runtime, f"pass on {runtime} ({numerics})"))
    return ", ".join(said)


def left_out(record: RunRecord) -> str:
    """Return the checks that the command line left out, by number and name; empty for none."""
    asked = [one for one in record.left_out if not one.by]
    return record.parts(asked) if asked else ""


def headline(record: RunRecord) -> str:
    """Return the verdict of the run in one line."""
    part = " of a part: PARTIAL run, not the full verdict" if record.partial else ""
    if record.passed:
        return f"PASSED: {proven(record)}{part}"
    return f"FAILED: {many(len(record.problems()), 'problem')}{part}"


def where(check: Check) -> str:
    """Return the name of a check as a person reads it."""
    return f"{check.system} · {check.stage} · {place(check)}"


def place(check: Check) -> str:
    """Return the name of a check within its stage."""
    return f"{check.variant} · case {check.case} · {check.mode} · {check.runtime}/{check.numerics}"


def nearest(group: Group) -> str:
    """Return the finding nearest to its bound, as text, and its check; empty where the group has none."""
    if not group.closest:
        return ""
    verdict, finding = group.closest
    said = finding.message if finding.message and not finding.passed else comparison(finding)
    check = verdict.check
    return f"{finding.output} {gate_name(finding.gate)} {said} ({check.variant}, {check.case}, {check.mode})"


def exercised(group: Group) -> str:
    """Return how many inputs and edges, and what share of the host code's branches, held and was exercised."""
    held: dict[str, dict[str, bool]] = {"inputs": {}, "edges": {}}
    glue = []
    for verdict in (one for one in group.verdicts if one.check.mode in UNBLAMED):
        for finding in verdict.findings:
            if finding.gate == "branches":
                glue.append(f"glue {math.floor(100 * (finding.value or 0.0))} %")
            elif finding.gate in ("edge", "moves", "exercised"):
                found = held["edges" if finding.gate == "edge" else "inputs"]
                name = finding.output if finding.gate == "exercised" else f"{verdict.check.stage}.{finding.output}"
                found[name] = found.get(name, True) and finding.passed
    return " ".join([*(f"{word} {sum(one.values())}/{len(one)}" for word, one in held.items() if one), *glue])


def properties(verdict: Verdict) -> list[tuple[str, object]]:
    """Return what a test report says of a check, as names and values; pytest puts them into its JUnit XML."""
    facts: list[tuple[str, object]] = list(asdict(verdict.check).items())
    worst = nearest(Group(verdict.check.system, verdict.check.stage, (verdict,)))
    return [*facts, ("worst_gate", worst)] if worst else facts


def trends(record: RunRecord, history: Iterable[Excerpt]) -> Trends:
    """Return the worst share of each gate in each run of the same runtime and weights, this run last."""
    this, conditions = excerpt(record), attrgetter("runtime", "numerics", "weights")
    earlier = (run for run in history if run.id != this.id and run.started <= this.started)
    runs = [*(run for run in earlier if conditions(run) == conditions(this)), this]
    gates = dict.fromkeys(gate for run in runs for gate in run.worst)
    return {gate: [run.worst.get(gate) for run in runs] for gate in gates}


def percent(share: float | None) -> str:
    """Return a share of a bound: as a percentage up to the bound, as a multiple beyond it."""
    if share is None:
        return "–"
    if not math.isfinite(share):
        return "∞"
    if share > 1:
        return f"{share:.3g} ×" if share < 1000 else "> 1000 ×"
    return f"{100 * share:.0f} %" if share >= 0.005 or share == 0 else "< 1 %"


def gate_name(gate: str) -> str:
    """Return the name of a gate as text."""
    return gate.replace("_", " ")


def origin(bench: BenchRecord, run: str) -> str:
    """Return the machine of a bench, and its run if the report is about another one."""
    started = datetime.fromisoformat(bench.started)
    whose = "This run" if bench.id == run else f"Another run, {bench.id}, {started:%d %b %Y, %H:%M}"
    return f"{whose}: {machine(bench.machine)}."


def _groups(record: RunRecord, staged: bool) -> list[Group]:
    """Return the checks of a record by system, or by system and stage, in the order of the record."""

    def place(check: Check) -> tuple[str, str]:
        return check.system, check.stage if staged else ""

    checks = dict.fromkeys((*(verdict.check for verdict in record.verdicts), *record.expected))
    raised, missing = {error.id for error in record.errors}, record.missing
    return [
        Group(
            *key,
            tuple(verdict for verdict in record.verdicts if place(verdict.check) == key),
            tuple(check for check in checks if place(check) == key and check.id in raised),
            tuple(check for check in missing if place(check) == key),
        )
        for key in dict.fromkeys(map(place, checks))
    ]
