"""Coverage of a run: each check that the code declares, on the evidence of this code, judged by each of its gates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from parity.base.fingerprint import digest
from parity.base.paths import BUDGETS, GATES
from parity.gate import git
from parity.golden import lock
from parity.golden.errors import GoldenError
from parity.judge import gates
from parity.judge.workbench import Workbench
from parity.plan.checks import tables
from parity.record.run import RunRecord
from parity.record.suite import Suite
from parity.verdict import UNBLAMED, Check, Verdict

_KEEP = "take it out of .gitignore, or put a folder where a link or a submodule is"


@dataclass(frozen=True)
class Problem:
    """A reason why nothing may be merged: the place it is about, and what is wrong there."""

    where: str
    what: str

    def line(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True)
class Expected:
    """A check that the code declares.

    check: the check itself.
    evidence: the key of the evidence that this code makes; empty where it cannot be determined.
    gates: the family of outputs and the metric of each gate that judges it.
    family: the family of an output, under which its gates stand.
    fault: why the key cannot be determined.
    """

    check: Check
    evidence: str
    gates: frozenset[tuple[str, str]]
    family: Callable[[str], str]
    fault: str = ""


def expected(suite: Suite) -> list[Expected]:
    """Return every check of a complete run, with what its verdict has to rest on."""
    return [_expected(suite.workbench(check), check) for check in suite.plan()]


def uncovered(record: RunRecord, checks: Sequence[Expected]) -> Iterator[Problem]:
    """Yield what a run does not say by itself: the checks and gates that it was made to leave out."""
    judged = {verdict.id: verdict for verdict in record.verdicts}
    known = {*judged, *(check.id for check in record.expected), *(error.id for error in record.errors)}
    known |= {one.id for one in record.left_out if one.by}
    passed = [(one, judged[one.check.id]) for one in checks if one.check.id in judged and judged[one.check.id].passed]
    yield from _together(
        (one.check.id for one in checks if one.check.id not in known),
        "the code declares this check, but the run left it out. Look for what deselects it: a marker, an option in the "
        "configuration of pytest, a hook",
    )
    for one, _ in passed:
        if one.fault:
            yield Problem(one.check.id, f"the key of its evidence can't be determined: {one.fault}")
    yield from _together(
        (one.check.id for one, verdict in passed if not one.fault and verdict.evidence != one.evidence),
        "its verdict rests on the evidence of other code. Look for what changes the run, such as an option in the "
        "configuration of pytest",
    )
    yield from _together(
        (f"{one.check.id}, {gate}" for one, verdict in passed for gate in _idle(one, verdict)),
        "this gate exists but was never evaluated in this run",
    )


def faults(suite: Suite) -> Iterator[Problem]:
    """Yield what a run of the short cases does not meet: goldens of long cases, gates that are missing or too many.

    Bounds that git does not keep are a fault too: the next change could not be compared with them.
    """
    kept = git.kept(suite.root)
    for name, system in suite.systems().items():
        short = {case.name for case in suite.cases(system)}
        goldens = suite.goldens(system)
        for case in (case for case in goldens.reference.cases if case.name not in short):
            try:
                goldens.identity(case)
            except (GoldenError, ValueError) as error:
                yield Problem(name, str(error))
        files = suite.bounds(system, GATES), suite.bounds(system, BUDGETS), goldens.folder / lock.NAME
        for path in (path.relative_to(suite.root).as_posix() for path in files if path.exists()):
            if path not in kept:
                yield Problem(path, f"git does not keep this file, so the gate can't compare it: {_KEEP}")
        for line in gates.complete(suite.gates(system), tables(system)):
            yield Problem(name, line)


def _expected(bench: Workbench, check: Check) -> Expected:
    evidence, fault = "", ""
    try:
        evidence = digest(bench.parts(check))
    except Exception as error:  # whatever it is: the run fails by it, or else it becomes a problem
        fault = f"{type(error).__name__}: {error}"
    gated = [] if check.mode in UNBLAMED else bench.gates.gates
    judges = (gate for gate in gated if (gate.stage, gate.variant) == (check.stage, check.variant))
    found = frozenset((gate.output, gate.metric) for gate in judges)
    return Expected(check, evidence, found, partial(bench.system.family, check.stage), fault)


def _idle(one: Expected, verdict: Verdict) -> list[str]:
    """Return the gates that no finding is of. Gates name families, findings outputs."""
    found = {(one.family(finding.output), finding.gate) for finding in verdict.findings}
    return [f"{output} {metric}" for output, metric in sorted(one.gates - found)]


def _together(where: Iterable[str], what: str) -> Iterator[Problem]:
    """Yield one problem for all places that it concerns, if there are any."""
    names = list(where)
    if names:
        yield Problem(names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more", what)
