"""Effect of a change: the checks whose fingerprints differ from the base's, and the parts that moved.

There is no list of which file belongs to which stage. Two surveys are compared, which hold the very hashes under which
artifacts and evidence are stored: what differs is measured anew, and the rest cannot have moved.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from parity.base.fingerprint import changed, digest
from parity.gate.survey import Parts, Survey, Surveyed


@dataclass(frozen=True)
class Affected:
    """One stage of a system, the chain being one too: its checks, those that the change affects, and why."""

    system: str
    stage: str
    checks: int
    affected: tuple[str, ...]
    why: tuple[str, ...]

    def line(self) -> str:
        if not self.affected:
            return f"{self.system} {self.stage}: unchanged"
        return f"{self.system} {self.stage}: {len(self.affected)} of {self.checks} checks affected: {self.reasons()}"

    def reasons(self, most: int = 4) -> str:
        more = len(self.why) - most
        return "; ".join(self.why[:most]) + (f"; and {more} more" if more > 0 else "")


def affected(base: Survey | None, head: Survey, unknown: str = "") -> list[Affected]:
    """Return the affected checks, stage by stage, in the order of the data.

    Without a survey of the base everything is affected; `unknown` says why there is none.
    """
    stages: dict[tuple[str, str], dict[str, list[str]]] = {}
    for id, check in head.checks.items():
        reasons = [unknown] if base is None else list(dict.fromkeys(_reasons(id, base, head)))
        stages.setdefault((check.system, check.stage), {})[id] = reasons
    return [
        Affected(
            system,
            stage,
            len(checks),
            tuple(id for id, reasons in checks.items() if reasons),
            tuple(dict.fromkeys(reason for reasons in checks.values() for reason in reasons)),
        )
        for (system, stage), checks in stages.items()
    ]


def budgets(base: Survey | None, head: Survey) -> list[str]:
    """Return the budgets that moved; benchmarks judge by them, checks do not."""
    if base is None:
        return []
    systems = dict.fromkeys((*base.budgets, *head.budgets))
    return [
        f"{system}: budget {line}"
        for system in systems
        for line in _moves(base.budgets.get(system, {}), head.budgets.get(system, {}))
    ]


def worded(line: str) -> str:
    """Return a changed part as it is best read."""
    return line.replace(".", " ", 1)


def _reasons(id: str, base: Survey, head: Survey) -> Iterator[str]:
    now, before = head.checks[id], base.checks.get(id)
    if before is None:
        yield "new"
        return
    for fault, when in ((now.fault, ""), (before.fault, " at the base")):
        if fault:
            yield f"what it rests on can't be told{when}: {fault}"
    yield from (f"gate {line}" for line in _moves(_flat(before.gates), _flat(now.gates)))
    if now.fault or before.fault or digest(now.parts) != digest(before.parts):
        yield from _moved(before, now, base, head)


def _flat(gates: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    return {f"{output}.{metric}": bound for output, bounds in gates.items() for metric, bound in bounds.items()}


def _moves(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    """Return the bounds that moved, in words."""
    for name in dict.fromkeys((*before, *now)):
        if name not in before:
            yield f"{name} is new: {now[name]}"
        elif name not in now:
            yield f"{name} is gone: it was {before[name]}"
        elif before[name] != now[name]:
            yield f"{name}: {before[name]} → {now[name]}"


def _moved(before: Surveyed, now: Surveyed, base: Survey, head: Survey) -> Iterator[str]:
    explained = 0
    for line in _artifacts(before, now, base, head):
        explained += 1
        yield line
    if before.parts.get("glue") != now.parts.get("glue"):
        for line in changed({"host glue": base.glue.get(before.system, {})}, {"host glue": head.glue[now.system]}):
            explained += 1
            yield worded(line)
    for line in changed(_plain(before.parts), _plain(now.parts)):
        explained += 1
        yield worded(line)
    if not explained:
        yield "its parts changed"


def _artifacts(before: Surveyed, now: Surveyed, base: Survey, head: Survey) -> Iterator[str]:
    for stage in dict.fromkeys((*before.artifacts, *now.artifacts)):
        old, new = before.artifacts.get(stage, ""), now.artifacts.get(stage, "")
        if old != new:
            parts = base.artifacts.get(old, {}), head.artifacts.get(new, {})
            where = "" if stage == now.stage else f"{stage}: "
            yield from (where + worded(line) for line in changed(*parts))


def _plain(parts: Parts) -> Parts:
    """Drop the digests of parts that are explained one by one."""
    return {name: value for name, value in parts.items() if name not in ("artifacts", "glue")}


def count(found: Iterable[Affected]) -> tuple[int, int]:
    """Return how many checks are affected, of how many."""
    rows = list(found)
    return sum(len(row.affected) for row in rows), sum(row.checks for row in rows)
