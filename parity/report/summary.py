"""A run record as a reader wants it: by system and stage, worst first, and in words that say what was proven."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from parity.judge.headroom import share
from parity.record.run import RunRecord
from parity.verdict import Finding, Verdict


@dataclass(frozen=True)
class Group:
    """The verdicts of one stage, or of one system where `stage` is empty; and its checks that gave no verdict."""

    system: str
    stage: str
    verdicts: tuple[Verdict, ...]
    errors: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def failed(self) -> tuple[Verdict, ...]:
        return tuple(verdict for verdict in self.verdicts if not verdict.passed)

    @property
    def passed(self) -> bool:
        return bool(self.verdicts) and not (self.failed or self.errors or self.missing)

    @property
    def artifacts(self) -> int:
        return len({(verdict.stage, verdict.variant) for verdict in self.verdicts if verdict.mode != "module"})

    @property
    def closest(self) -> tuple[Verdict, Finding] | None:
        """The finding that uses up most of its bound, a broken one before any other."""
        pairs = [(verdict, finding) for verdict in self.verdicts for finding in verdict.findings]
        return max(pairs, key=lambda pair: badness(pair[1]), default=None)

    @property
    def badness(self) -> tuple[float, float, float]:
        nearest = badness(self.closest[1])[1] if self.closest else 0.0
        return (0.0 if self.passed else 1.0, nearest, len(self.failed) + len(self.errors) + len(self.missing))


def badness(finding: Finding) -> tuple[float, float]:
    """Orders findings: broken ones last, then by the share of the bound that is used up."""
    used = share(finding)
    return (0.0 if finding.passed else 1.0, (0.0 if finding.passed else math.inf) if used is None else used)


def systems(record: RunRecord) -> list[Group]:
    """One group per system, in the order of the record."""
    names = dict.fromkeys(verdict.system for verdict in record.verdicts)
    return [_group(record, name, "", names) for name in names]


def stages(record: RunRecord) -> list[Group]:
    """One group per stage, worst first: failed ones, then those nearest to a bound."""
    names = dict.fromkeys((verdict.system, verdict.stage) for verdict in record.verdicts)
    prefixes = [f"{system}-{stage}" for system, stage in names]
    return sorted(
        (_group(record, system, stage, prefixes) for system, stage in names),
        key=lambda group: group.badness,
        reverse=True,
    )


def homeless(record: RunRecord) -> dict[str, str]:
    """The checks without a verdict whose system has no verdict either: id and reason."""
    names = list(dict.fromkeys(verdict.system for verdict in record.verdicts))
    return {id: why for id, why in without_verdict(record).items() if _owner(id, names) is None}


def without_verdict(record: RunRecord) -> dict[str, str]:
    """Each check that raised or never came: id and reason."""
    return {error.id: f"raised: {error.message}" for error in record.errors} | record.missing


def worst_first(verdicts: Iterable[Verdict]) -> list[Verdict]:
    def key(verdict: Verdict) -> tuple[bool, tuple[float, float]]:
        return (not verdict.passed, max(map(badness, verdict.findings), default=(1.0, math.inf)))

    return sorted(verdicts, key=key, reverse=True)


def proven(record: RunRecord, verdicts: Sequence[Verdict] | None = None) -> str:
    """What a pass of these verdicts proves, by what executed the artifacts. A pass on milrun is never a device pass."""
    chosen = record.verdicts if verdicts is None else verdicts
    checked = [verdict for verdict in chosen if verdict.mode != "module"]
    if not checked:
        return "module pass (no artifact was checked)" if chosen else "nothing proven"
    said = []
    for runtime in dict.fromkeys(verdict.runtime for verdict in checked):
        numerics = " + ".join(dict.fromkeys(verdict.numerics for verdict in checked if verdict.runtime == runtime))
        said.append(_kind(runtime, numerics, str(record.machine.get("system", "unknown"))))
    return ", ".join(said)


def _kind(runtime: str, numerics: str, machine: str) -> str:
    if runtime == "milrun":
        return f"graph pass (milrun, {numerics})"
    if runtime == "coreml" and machine == "Darwin":
        return "device pass (Core ML)"
    if runtime == "coreml":
        return f"graph pass (coremltools' interface on {machine}, no Core ML behind it)"
    return f"pass on {runtime} ({numerics})"


def headline(record: RunRecord) -> str:
    """The verdict of the run in one line."""
    part = " of a part: PARTIAL run, not the full verdict" if record.partial else ""
    if record.passed:
        return f"PASSED: {proven(record)}{part}"
    count = len(record.problems())
    return f"FAILED: {count} problem{'s' if count != 1 else ''}{part}"


def where(verdict: Verdict) -> str:
    """Which check this is, as a person says it."""
    return (
        f"{verdict.system} · {verdict.stage} · {verdict.variant} · case {verdict.case} · {verdict.mode} · "
        f"{verdict.runtime}/{verdict.numerics}"
    )


def gate_name(gate: str) -> str:
    return gate.replace("_", " ")


def _group(record: RunRecord, system: str, stage: str, owners: Iterable[str]) -> Group:
    owner, owners = f"{system}-{stage}" if stage else system, list(owners)
    return Group(
        system,
        stage,
        tuple(one for one in record.verdicts if one.system == system and stage in ("", one.stage)),
        tuple(error.id for error in record.errors if _owner(error.id, owners) == owner),
        tuple(id for id in record.missing if _owner(id, owners) == owner),
    )


def _owner(id: str, owners: Iterable[str]) -> str | None:
    """The longest of the names that the id of a check begins with."""
    return max((owner for owner in owners if id.startswith(f"{owner}-")), key=len, default=None)
