"""Retired checks: made at the base and not any more, with their reasons.

A system's own file of gates says so under `[retired]`: a stage by its name, a variant as "stage.variant", a case as
"case.name". A whole system, or any single check by its id, is retired in `golden/retired.toml`, a table of names and
reasons.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from parity.base import toml
from parity.base.toml import Place, Text
from parity.gate.survey import Survey, Surveyed
from parity.judge.gates import GateError

FILE = "retired.toml"


@dataclass(frozen=True)
class Retired:
    """Retired thing by its shortest name, the number of its checks, and the reason; `problem` if that is not enough."""

    name: str
    checks: int
    reason: str
    problem: str = ""

    def line(self) -> str:
        said = f"{self.name}: {self.checks} check{'s' if self.checks != 1 else ''} gone"
        return f"{said}: {self.problem}" if self.problem else f"{said} ({self.reason})"


def parse(text: str, source: str) -> dict[str, str]:
    """Return the reasons that `golden/retired.toml` gives, by name."""
    place = Place(source, GateError)
    reasons: dict[str, str] = toml.checked(dict[str, Text], toml.parse(text, place) if text.strip() else {}, place)
    return reasons


def retired(base: Survey, head: Survey, before: Mapping[str, str], now: Mapping[str, str]) -> list[Retired]:
    """Return what the head does not check any more; `before` and `now` are the reasons of base and head."""
    gone: dict[str, list[Surveyed]] = {}
    for id, check in base.checks.items():
        if id not in head.checks:
            gone.setdefault(_name(id, check, head.checks.values()), []).append(check)
    found = []
    for name, checks in gone.items():
        reason = toml.retirement(now, name)
        problem = ""
        if not reason:
            problem = f"nobody said why: bring it back, or {_mend(name)}"
        elif reason == toml.retirement(before, name):
            problem = "the reason stood there before it went: say why it goes now"
        found.append(Retired(name, len(checks), reason, problem))
    return found


def _name(id: str, check: Surveyed, left: Collection[Surveyed]) -> str:
    """Return the name of the largest thing that is gone as a whole."""
    mine = [other for other in left if other.system == check.system]
    if not mine:
        return check.system
    if check.stage not in {other.stage for other in mine}:
        return f"{check.system}.{check.stage}"
    if check.case not in {other.case for other in mine}:
        return f"{check.system}.case.{check.case}"
    if (check.stage, check.variant) not in {(other.stage, other.variant) for other in mine}:
        return f"{check.system}.{check.stage}.{check.variant}"
    return id


def _mend(name: str) -> str:
    system, _, rest = name.partition(".")
    where = f"golden/{system}/gates.toml under [retired]" if rest else f"golden/{FILE}"
    return f'say why in {where}: {toml.quoted(rest or system)} = "…"'
