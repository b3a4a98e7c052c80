"""Takes the survey of the code that is running: each check of a complete run under default options, and what makes it.

What a check rests on is asked of the check itself, which keeps its evidence under it, and of the artifacts it takes,
which are kept under theirs: a change that moves neither can't move a verdict, for the run would not even measure again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from parity.base.fingerprint import code, digest
from parity.base.paths import BUDGETS
from parity.build.artifacts import Built
from parity.declarations import Stage, System, Variant
from parity.gate.survey import Parts, Survey, Surveyed
from parity.judge import budgets_toml, gates
from parity.judge.workbench import Workbench
from parity.plan.checks import CHAIN, chain_sets, tables
from parity.record.suite import Options, Suite
from parity.verdict import Check

T = TypeVar("T")


def survey() -> Survey:
    suite = Suite(Options(), "fingerprints")
    artifacts: dict[str, Parts] = {}
    checks = {check.id: _surveyed(suite.workbench(check), check, artifacts) for check in suite.plan()}
    named = suite.systems().items()
    return Survey(
        str(suite.root),
        checks,
        artifacts,
        {name: code(system.chain) for name, system in named},
        {name: _budgets(suite, name) for name, _ in named},
        tuple(f"{name}: {problem}" for name, system in named for problem in _problems(suite, system)),
    )


def _surveyed(bench: Workbench, check: Check, artifacts: dict[str, Parts]) -> Surveyed:
    keys = {}
    for stage, variant in _taken(bench.system, check):
        made = _built(bench).parts(stage, variant)
        keys[stage.name] = digest(made)
        artifacts[keys[stage.name]] = made
    parts, fault = _told(lambda: bench.parts(check))
    bounds: dict[str, dict[str, str]] = {}
    for gate in bench.gates.gates:
        if (gate.stage, gate.variant) == (check.stage, check.variant):
            bounds.setdefault(gate.output, {})[gate.metric] = str(gate.bound)
    return Surveyed(
        check.system,
        check.stage,
        check.variant,
        check.case,
        check.mode,
        parts or {},
        keys,
        bounds,
        families(bench.system, check.stage),
        fault,
    )


def families(system: System, stage: str) -> dict[str, str]:
    """Return the family of each output that is gated under another name than its own, of a stage or of the chain."""
    if stage == CHAIN:
        outputs = [f"{one.name}.{output}" for one in system.stages for output in one.outputs]
    else:
        outputs = list(system.stage(stage).outputs)
    named = {output: system.family(stage, output) for output in outputs}
    return {output: family for output, family in named.items() if family != output}


def _taken(system: System, check: Check) -> Iterable[tuple[Stage, Variant]]:
    if check.mode == "chained":
        return [(system.stage(name), variant) for name, variant in chain_sets(system)[check.variant].items()]
    if check.mode in ("forced", "carried"):
        return [(system.stage(check.stage), system.stage(check.stage).variant(check.variant))]
    return []


def _built(bench: Workbench) -> Built:
    assert isinstance(bench.artifacts, Built), "default options build what they check"
    return bench.artifacts


def _problems(suite: Suite, system: System) -> Iterator[str]:
    """Return problems with goldens that short runs do not read, and with gates that are missing or cannot fail."""
    bench = suite.workbench(next(check for check in suite.plan() if check.system == system.name))
    for case in system.reference.cases:
        _, fault = _told(lambda case=case: bench.goldens.identity(case))  # type: ignore[misc]
        if fault:
            yield fault
    yield from gates.complete(bench.gates, tables(system))


def _budgets(suite: Suite, name: str) -> dict[str, str]:
    path = suite.bounds(suite.systems()[name], BUDGETS)
    return {found.name: found.text for found in budgets_toml.load(path).budgets} if path.exists() else {}


def _told(tell: Callable[[], T]) -> tuple[T | None, str]:
    try:
        return tell(), ""
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"
