"""What the host decides beside the stages: rehearsed, judged, and let stand where the chain runs free."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

from parity.declarations import (
    HOST,
    Arrays,
    Case,
    Dim,
    Golden,
    Hub,
    Reference,
    Run,
    Seam,
    Stage,
    System,
    Variant,
    f32,
    i32,
)
from parity.run.chain import Chain, Free, Rehearsal

LOUD = Stage(
    "loud",
    lambda upstream: nn.Identity(),
    {"samples": f32(1, 2)},
    {"level": f32(1, 1)},
    (Variant("fp32", "float32", ships=True),),
    stepped=True,
)
SAMPLES = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
CASE = Case("three", {"samples": SAMPLES})


def glue(run: Run, case: Case) -> None:
    """Says of each pair whether it is loud, and adds up how often."""
    heard = np.zeros(1, np.int32)
    for pair in case.inputs["samples"]:
        level = run("loud", {"samples": pair[None]})["level"]
        heard = heard + run.decide(HOST, "is_loud", (level[:, 0] > 3).astype(np.int32))
    run.decide(HOST, "count", heard)


def system(chain: object = glue) -> System:
    reference = Reference(
        "levels",
        8_000,
        (CASE,),
        ("torch",),
        Hub("a/b", "c", "0", "0"),
        seed=lambda path: None,
        build=lambda path: None,
        record=lambda model, case: iter(()),
    )
    rows = Dim("rows", 1, 10)
    decisions = {"is_loud": i32(rows), "count": i32(rows)}
    return System(reference, (LOUD,), chain, title="levels_near", scope="near", decisions=decisions)  # type: ignore[arg-type]


SEAMS = {
    "near.loud": Seam("near.loud", {"samples": SAMPLES[:, None]}, {"level": SAMPLES.sum(1)[:, None, None]}),
    "near.host": Seam(
        "near.host",
        {"turns": np.zeros((1, 3))},
        {"is_loud": np.array([0, 1, 1], np.int32), "count": np.array([2], np.int32)},
    ),
    "far.loud": Seam("far.loud", {"samples": SAMPLES[:, None]}, {"level": np.zeros((3, 1, 1), np.float32)}),
    "shared": Seam("shared", {}, {}),
}


@pytest.fixture
def golden() -> Golden:
    return Golden("levels", "case", tuple(SEAMS.values()), scope="near")


def found(rehearsal: Rehearsal, chain: object) -> dict[str, str]:
    chain(rehearsal, CASE)  # type: ignore[operator]
    return {finding.output: finding.message for finding in rehearsal.findings() if not finding.passed}


def test_a_scope_sees_its_own_seams_and_what_all_share(golden: Golden) -> None:
    assert golden["loud"] is SEAMS["near.loud"]
    assert golden["shared"] is SEAMS["shared"]
    with pytest.raises(KeyError):
        golden["encoder"]


def test_a_glue_that_decides_as_upstream_passes(golden: Golden) -> None:
    assert found(Rehearsal(system(), golden, {}), glue) == {}


def test_a_decision_that_is_not_upstreams_is_found(golden: Golden) -> None:
    def deaf(run: Run, case: Case) -> None:
        for pair in case.inputs["samples"]:
            level = run("loud", {"samples": pair[None]})["level"]
            run.decide(HOST, "is_loud", (level[:, 0] > 9).astype(np.int32))
        run.decide(HOST, "count", np.array([2], np.int32))

    said = found(Rehearsal(system(), golden, {}), deaf)["host.is_loud"]
    assert said == "the host decides 0 where upstream has 1 in row 1, on upstream's values"


def test_a_value_that_the_host_makes_otherwise_is_found_with_its_step_and_upstreams(golden: Golden) -> None:
    def swapping(run: Run, case: Case) -> None:
        glue(run, Case("swapped", {"samples": SAMPLES[:, ::-1]}))

    def louder(run: Run, case: Case) -> None:
        glue(run, Case("louder", {"samples": SAMPLES + np.array([[0, 0], [0, 2], [0, 2]], np.float32)}))

    said = found(Rehearsal(system(), golden, {}), swapping)["loud.samples"]
    assert said == "the host made upstream's values in another order along axis 1: 0 is 1, 1 is 0 at step 0 of 3"
    said = found(Rehearsal(system(), golden, {}), louder)["loud.samples"]
    assert said == "the host made 6 where upstream has 4 at (0, 1) at step 1 of 3"


def test_a_loop_that_ends_early_is_one_finding(golden: Golden) -> None:
    def hasty(run: Run, case: Case) -> None:
        glue(run, Case("two", {"samples": SAMPLES[:2]}))

    said = found(Rehearsal(system(), golden, {}), hasty)
    assert said.pop("host.count") == "the host decides 1 where upstream has 2 in row 0, on upstream's values"
    assert said == {"loud.steps": "the host runs it 2 times, upstream 3 times; with it host.is_loud 2"}


def test_a_decision_that_is_never_made_is_found(golden: Golden) -> None:
    def forgetful(run: Run, case: Case) -> None:
        for pair in case.inputs["samples"]:
            run("loud", {"samples": pair[None]})

    said = found(Rehearsal(system(), golden, {}), forgetful)
    assert said["host.is_loud"] == "the host decides 0 rows, upstream 3"


def test_a_decision_too_many_is_an_error(golden: Golden) -> None:
    def chatty(run: Run, case: Case) -> None:
        run.decide(HOST, "is_loud", np.zeros(4, np.int32))

    with pytest.raises(ValueError, match="the host decides 4 rows of is_loud, upstream 3"):
        chatty(Rehearsal(system(), golden, {}), CASE)


def silent(stage: str, inputs: Arrays) -> dict[str, np.ndarray]:
    """An artifact that has gone deaf."""
    return {"level": np.zeros((1, 1), np.float32)}


def test_the_chain_goes_on_with_upstreams_decisions_and_runs_free_with_its_own(golden: Golden) -> None:
    kept = Chain(system(), golden, {}, silent)
    glue(kept, CASE)
    assert kept.own["is_loud"].tolist() == [0, 0, 0]
    assert kept.own["count"].tolist() == [2]
    free = Free(system(), {}, silent)
    glue(free, CASE)
    assert free.own["is_loud"].tolist() == [0, 0, 0]
    assert free.own["count"].tolist() == [0]
