"""Evidence is kept under all that decides it: each part of a check's key moves with what it is about, and only then."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from parity.base import libraries
from parity.base.cache import Cache
from parity.base.fingerprint import changed, code, digest
from parity.base.paths import Project, using
from parity.build.artifacts import Built
from parity.declarations import Arrays, Case, Run, Stage, System
from parity.judge import workbench
from parity.judge.gates import Gates
from parity.judge.workbench import Workbench
from parity.plan.checks import plan
from parity.plan.weights import choose
from parity.run.choice import runtime
from parity.verdict import Check
from tests.support import stepping_system as small


class Other(small.Step):
    """A module that does the same by other code."""


def other_chain(run: Run, case: Case) -> None:
    small.chain(run, case)


def other_derive(outputs: Arrays) -> Arrays:
    return {"margin": outputs["answer"] * 0}


def turned(declared: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same in reverse order."""
    return dict(reversed(declared.items()))


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


def keys_of(bench: Workbench, system: System) -> dict[Check, str]:
    """Return what each check of a system rests on, one digest for each."""
    checks = plan(system, system.reference.cases, [bench.runtime])
    return {check: digest(bench.parts(check)) for check in checks}


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


MEASURED = {"module", "forced", "carried", "chained"}
EVERY = MEASURED | {"probed", "exercised"}


@pytest.mark.parametrize(
    ("edit", "modes"),
    [
        (lambda stage: replace(stage, inputs=turned(stage.inputs)), EVERY),
        (lambda stage: replace(stage, outputs=turned(stage.outputs)), EVERY - {"exercised"}),
        (lambda stage: replace(stage, derive=other_derive), EVERY - {"exercised"}),
        (lambda stage: replace(stage, carries={"cache0_out": "cache0"}), EVERY - {"exercised"}),
        (lambda stage: replace(stage, stepped=False), EVERY - {"exercised"}),
    ],
    ids=["order of inputs", "order of outputs", "derive", "carries", "stepped"],
)
def test_how_a_stage_is_run_decides_the_evidence(
    edit: Callable[[Stage], Stage], modes: set[str], tmp_path: Path
) -> None:
    system = small.system()
    edited = bench(tmp_path, replace(system, stages=tuple(map(edit, system.stages))))
    before, after = (keys_of(one, system) for one in (bench(tmp_path, system), edited))
    assert {check.mode for check in before if before[check] != after[check]} == modes


def test_the_sample_rate_decides_the_evidence(tmp_path: Path) -> None:
    system = small.system()
    other = replace(system, reference=replace(system.reference, sample_rate=48_000))
    before, after = (keys_of(bench(tmp_path, one), system) for one in (system, other))
    assert not set(before.values()) & set(after.values())


def test_two_stages_of_one_module_have_evidence_of_their_own(tmp_path: Path) -> None:
    system = small.system()
    both = replace(system, stages=(*system.stages, replace(system.stages[0], name="again")))
    keys = keys_of(bench(tmp_path, both), both)
    assert len(set(keys.values())) == len(keys)


def test_the_evidence_of_a_system_without_speakers_does_not_need_their_libraries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = libraries.version
    monkeypatch.setattr(libraries, "version", lambda name: None if name.startswith("pyannote") else there(name))
    with using(Project(tmp_path)):
        assert keys_of(bench(tmp_path, small.system()), small.system())


def test_what_is_measured_depends_on_the_runtime_but_upstream_does_not(tmp_path: Path) -> None:
    found = moved(bench(tmp_path, small.system()), bench(tmp_path, small.system(), "fp32"))
    assert found == {mode: {"runtime"} for mode in ("forced", "carried", "chained", "probed")}


def test_the_code_that_measures_is_reached_without_a_list() -> None:
    reached = code(workbench.measure).keys()
    compares = {"Comparison", "Track", "check", "_decisions", "findings", "measure", "turns", "write"}
    assert reached >= compares | {"Chain", "Free", "Rehearsal", "call", "cast", "traceable"}
    assert reached.isdisjoint({"Cache", "Workbench", "blame", "judge", "Gates"})
