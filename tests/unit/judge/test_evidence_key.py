"""Evidence is kept under all that decides it: each part of a check's key moves with what it is about, and only then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from parity.base.cache import Cache
from parity.base.fingerprint import changed, code
from parity.build.artifacts import Built
from parity.declarations import Case, Run, System
from parity.judge import workbench
from parity.judge.gates import Gates
from parity.judge.workbench import Workbench
from parity.plan.checks import plan
from parity.plan.weights import choose
from parity.run import runtime
from tests.support import stepping_system as small


class Other(small.Step):
    """A module that does the same by other code."""


def other_chain(run: Run, case: Case) -> None:
    small.chain(run, case)


def bench(folder: Path, system: System, numerics: str = "declared") -> Workbench:
    cache = Cache(folder)
    weights = choose(small.REFERENCE, "seeded", cache)
    goldens: Any = SimpleNamespace(identity=lambda case: case.name)
    return Workbench(
        system, weights, goldens, Built(system, weights, cache), runtime("milrun", numerics), Gates(()), cache
    )


def moved(one: Workbench, other: Workbench) -> dict[str, set[str]]:
    """Return the parts that differ, by the mode of the check."""
    found: dict[str, set[str]] = {}
    for check in plan(one.system, one.system.reference.cases, [one.runtime]):
        parts = (bench.parts(replace(check, numerics=bench.runtime.numerics)) for bench in (one, other))
        lines = changed(*parts)
        found.setdefault(check.mode, set()).update(line.partition(".")[0].partition(" ")[0] for line in lines)
    return {mode: parts for mode, parts in found.items() if parts}


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: small.system(), {}),
        (
            lambda: small.system(module=Other),
            {
                "module": {"module"},
                "forced": {"artifacts"},
                "carried": {"artifacts"},
                "chained": {"artifacts"},
                "probed": {"artifacts", "module"},
            },
        ),
        (lambda: small.system(glue=other_chain), {"chained": {"glue"}, "exercised": {"glue"}}),
    ],
)
def test_a_part_moves_with_what_it_is_about(
    make: Callable[[], System], expected: dict[str, set[str]], tmp_path: Path
) -> None:
    assert moved(bench(tmp_path, small.system()), bench(tmp_path, make())) == expected


def test_what_is_measured_depends_on_the_runtime_but_upstream_does_not(tmp_path: Path) -> None:
    found = moved(bench(tmp_path, small.system()), bench(tmp_path, small.system(), "fp32"))
    assert found == {mode: {"runtime"} for mode in ("forced", "carried", "chained", "probed")}


def test_the_code_that_measures_is_reached_without_a_list() -> None:
    reached = code(workbench.measure).keys()
    compares = {"Comparison", "Track", "check", "decisions", "findings", "measure", "turns", "write"}
    assert reached >= compares | {"Chain", "Free", "Rehearsal", "call", "cast", "traceable"}
    assert reached.isdisjoint({"Cache", "Workbench", "blame", "judge", "Gates"})
