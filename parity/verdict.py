"""Results: the check that was made, the findings on its outputs, and where a failure begins."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

Mode = Literal["module", "forced", "carried", "chained", "probed", "stretched", "exercised"]
"""module: upstream against the traceable module (hop 1). forced: golden inputs into the artifact (hop 2), and at every
step what upstream carried there. carried: golden inputs, with what the artifact itself carries from step to step.
chained: the outputs of the artifacts before it, through the host glue. probed: the artifact beside the module, with
each input perturbed, and at both ends of the declared sizes; stretched: at the largest sizes alone, where these take
long. exercised: which inputs the cases vary, and which branches of the host glue they take."""

UNBLAMED: tuple[Mode, ...] = ("probed", "stretched", "exercised")
"""Modes without gates, whose findings say by themselves where the fault is."""

Form = Literal["min", "max", "within"]


def _number(value: Any) -> Any:
    """Read the strings that a JSON record has in place of NaN and infinities."""
    return float(value) if value in ("NaN", "Infinity", "-Infinity") else value


Number = Annotated[float, BeforeValidator(_number)]
"""A number, in a record's file maybe NaN or infinite."""


@dataclass(frozen=True)
class Bound:
    """Values that a gate or a budget allows.

    Attributes:
        form: `min` allows the limit and more, `max` the limit and less, `within` values at most the limit from the
            ideal.
        limit: The bound itself; for `within` the allowed distance.
        ideal: The best value; None if more, or less, is always better.
        unit: Unit of the values, for display.
    """

    form: Form
    limit: float
    ideal: float | None
    unit: str = ""

    def holds(self, value: float) -> bool:
        """Tell if a value is allowed. NaN and infinities never are."""
        if not math.isfinite(value):
            return False
        if self.form == "within":
            ideal = self.ideal or 0.0
            return ideal - self.limit <= value <= ideal + self.limit
        return value >= self.limit if self.form == "min" else value <= self.limit

    def __str__(self) -> str:
        if self.form == "within":
            return f"within {self.limit:.12g} of {self.ideal:g}"
        return f"{'≥' if self.form == 'min' else '≤'} {self.limit:.12g} {self.unit}".rstrip()


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at on one output: a contract (presence, dtype, shape, …), or a metric and its bound."""

    output: str
    gate: str
    passed: bool
    value: Number | None = None
    bound: Bound | None = None
    message: str = ""

    def line(self) -> str:
        """Return the finding as one line of text."""
        if self.message or self.value is None:
            return f"{self.output}: {self.message or self.gate}"
        verb = "within" if self.passed else "breaks"
        return f"{self.output}: {self.gate} {self.value:.6g} {verb} {self.bound or 'no bound'}"


@dataclass(frozen=True)
class Blame:
    """Origin of a failure: the first value that diverges, the op that made it, and what the error looks like."""

    stage: str
    output: str
    looks_like: str
    _: KW_ONLY
    value: str = ""
    op_type: str = ""
    op_index: int = 0
    op_count: int = 0
    source: str = ""
    fault: Literal["graph", "precision", "constants", "weights", "module", "unknown"] = "unknown"
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One verdict to be had.

    The stage of a chained check is `chain`, and its variant names a set of variants, one for each stage.
    """

    system: str
    stage: str
    variant: str
    case: str
    mode: Mode
    runtime: str
    numerics: str

    @property
    def id(self) -> str:
        """The name of the check on the command line, in reports and in records."""
        return "-".join((self.system, self.stage, self.variant, self.case, self.mode, self.runtime, self.numerics))

    def verdict(self, findings: Iterable[Finding]) -> Verdict:
        """Return the verdict that these findings make."""
        return Verdict(self, tuple(findings))


@dataclass(frozen=True)
class Verdict:
    """The outcome of a check. It passed only if something was compared and all of it held."""

    check: Check
    findings: tuple[Finding, ...]
    blame: Blame | None = None
    seconds: float = 0.0
    evidence: str = ""
    reused: bool = False

    @cached_property
    def passed(self) -> bool:
        return bool(self.findings) and all(finding.passed for finding in self.findings)

    @property
    def id(self) -> str:
        return self.check.id

    @property
    def failures(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if not finding.passed)


def share(finding: Finding) -> float | None:
    """Return the share of the bound that is used up: 0 at the ideal, 1 at the bound, more where it is broken.

    None for a finding without a value or a bound, such as a contract.
    """
    bound, value = finding.bound, finding.value
    if bound is None or value is None:
        return None
    if not math.isfinite(value):
        return math.inf
    if bound.ideal is None:
        used, room = (bound.limit, value) if bound.form == "min" else (value, bound.limit)
    elif bound.form == "within":
        used, room = abs(value - bound.ideal), bound.limit
    else:
        beyond = bound.ideal - value if bound.form == "min" else value - bound.ideal
        used, room = max(beyond, 0.0), abs(bound.limit - bound.ideal)
    if room <= 0:  # such as "≤ 0": used up, or untouched
        return 0.0 if used == 0 else math.inf
    return used / room


def comparison(finding: Finding) -> str:
    """Return value and bound as they compare: `0.849 < 0.999` where the bound is broken, `0.9999 ≥ 0.999` where not."""
    value, bound = finding.value, finding.bound
    if value is None:
        return str(bound or "")
    if bound is None or finding.passed:
        return f"{number(value)} {bound or ''}".rstrip()
    if not math.isfinite(value):
        return f"{number(value)} breaks {bound}"
    if bound.form == "within":
        return f"{number(value)} not {bound}"
    return f"{number(value)} {'<' if bound.form == 'min' else '>'} {number(bound.limit)} {bound.unit}".rstrip()


def number(value: float) -> str:
    """Return a value in few digits that do not hide how near to 1 a cosine is."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "∞" if value > 0 else "−∞"
    if 0 < abs(1 - abs(value)) < 0.01:
        digits = min(9, 2 - math.floor(math.log10(abs(1 - abs(value)))))
        return f"{value:.{digits}f}".rstrip("0").rstrip(".")
    return f"{value:.4g}"
