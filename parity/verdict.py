"""What a gate said about an artifact on a case, with the evidence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Mode = Literal["module", "forced", "carried", "chained"]
"""module: upstream against the traceable module (hop 1). forced: golden inputs into the artifact (hop 2), and at every
step what upstream carried there. carried: golden inputs, with what the artifact itself carries from step to step.
chained: the outputs of the artifacts before it, through the host glue."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at on one output: a contract (presence, dtype, shape, …) or a metric and its bound."""

    output: str
    gate: str
    passed: bool
    value: float | None = None
    bound: str = ""
    message: str = ""

    def line(self) -> str:
        if self.message:
            return f"{self.output}: {self.message}"
        return f"{self.output}: {self.gate} {self.value:.6g} {'within' if self.passed else 'breaks'} {self.bound}"


@dataclass(frozen=True)
class Blame:
    """Where a failure begins: the first value that diverges, the op that made it, and what the error looks like."""

    stage: str
    output: str
    looks_like: str
    value: str = ""
    op_type: str = ""
    op_index: int = 0
    op_count: int = 0
    source: str = ""
    fault: Literal["graph", "precision", "constants", "module", "unknown"] = "unknown"
    detail: str = ""


@dataclass(frozen=True)
class Verdict:
    """Passed only if something was compared and all of it held."""

    system: str
    stage: str
    variant: str
    case: str
    mode: Mode
    runtime: str
    numerics: str
    findings: tuple[Finding, ...]
    blame: Blame | None = None
    seconds: float = 0.0
    evidence: str = ""
    reused: bool = False

    @property
    def passed(self) -> bool:
        return bool(self.findings) and all(finding.passed for finding in self.findings)

    @property
    def id(self) -> str:
        return "-".join((self.system, self.stage, self.variant, self.case, self.mode, self.runtime, self.numerics))

    @property
    def failures(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if not finding.passed)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "passed": self.passed, "findings": [_plain(asdict(found)) for found in self.findings]}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Verdict:
        fields = {name: value for name, value in data.items() if name != "passed"}
        fields["findings"] = tuple(
            Finding(**{**found, "value": None if found["value"] is None else float(found["value"])})
            for found in data["findings"]
        )
        fields["blame"] = Blame(**data["blame"]) if data.get("blame") else None
        return Verdict(**fields)


def _plain(found: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN and no infinity; they are written as the strings that float() reads."""
    value = found["value"]
    return {**found, "value": str(value) if value is not None and not math.isfinite(value) else value}
