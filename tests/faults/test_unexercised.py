"""Bugs where no golden looks: an input of one value in all cases, a size that none reaches, a branch none takes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from parity.declarations import Case, Run
from parity.plan.checks import plan
from parity.run.choice import runtime
from parity.verdict import Check, Mode, Verdict
from tests.support import exercised_system as small
from tests.support.exercised_system import Module, bench, case, system


class MaskIgnored(Module):
    """Reads the mask for its size alone, so that the graph still has it."""

    def hidden(self, mask: Tensor) -> Tensor:
        return super().hidden(torch.ones_like(mask))


class SpeedIgnored(Module):
    def lasting(self, y: Tensor, speed: Tensor) -> Tensor:
        return super().lasting(y, speed * 0 + 1)


class SpeedInverted(Module):
    """At speed 1 both are the same."""

    def lasting(self, y: Tensor, speed: Tensor) -> Tensor:
        return y.sum(-1) * speed


class TableOneShort(Module):
    """The last position is that of the one before."""

    def placed(self, ids: Tensor) -> Tensor:
        return self.places.weight[self.numbers.clamp(max=small.TOKENS.high - 2)][: ids.shape[1]]


class MaskUnread(Module):
    def hidden(self, mask: Tensor) -> Tensor:
        return torch.zeros(1)


def forgotten(run: Run, case: Case) -> None:
    """Past a speed that no case has, it forgets the speed."""
    ids, speed = case.inputs["ids"], case.inputs["speed"]
    if speed > 2:
        speed = np.ones(1, np.float32)
    run("speech", {"ids": ids, "mask": np.ones_like(ids), "speed": speed})


def floored(run: Run, case: Case) -> None:
    """No case is as slow, so that any floor below would do."""
    ids = case.inputs["ids"]
    speed = np.maximum(case.inputs["speed"], np.float32(0.5))
    run("speech", {"ids": ids, "mask": np.ones_like(ids), "speed": speed})


def clipped(run: Run, case: Case) -> None:
    """A case is as slow as the lower end, and none as fast as the upper one."""
    ids = case.inputs["ids"]
    speed = np.clip(case.inputs["speed"], np.float32(0.8), np.float32(2))
    run("speech", {"ids": ids, "mask": np.ones_like(ids), "speed": speed})


def shortened(run: Run, case: Case) -> None:
    """A text of more tokens than any case has loses those behind."""
    ids = case.inputs["ids"][:, : min(case.inputs["ids"].shape[1], 10)]
    run("speech", {"ids": ids, "mask": np.ones_like(ids), "speed": case.inputs["speed"]})


def capped(run: Run, case: Case) -> None:
    ids = case.inputs["ids"][:, : min(case.inputs["ids"].shape[1], 10)]  # unexercised: the app's field ends at 10
    run("speech", {"ids": ids, "mask": np.ones_like(ids), "speed": case.inputs["speed"]})


def excused(run: Run, case: Case) -> None:
    ids, speed = case.inputs["ids"], case.inputs["speed"]
    if speed > 2:  # unexercised: the app's slider ends at 2
        speed = np.ones(1, np.float32)
    run("speech", {"ids": ids, "mask": np.ones_like(ids), "speed": speed})


def excused_for_nothing(run: Run, case: Case) -> None:
    ids = case.inputs["ids"]
    speed = np.ones(1, np.float32) if case.inputs["speed"] > 2 else case.inputs["speed"]  # unexercised:
    run("speech", {"ids": ids, "mask": np.ones_like(ids), "speed": speed})


def hurried(run: Run, case: Case) -> None:
    ids = case.inputs["ids"]
    run("speech", {"ids": ids, "mask": np.ones_like(ids), "speed": case.inputs["speed"] * 2})


ONE_SPEED = tuple(case(name, tokens, 1.0) for name, tokens in (("slow", 5), ("fast", 7)))


def check(mode: Mode, variant: str, cases: tuple[Case, ...] = small.REFERENCE.cases) -> Check:
    checks = plan(system(cases=cases), cases, [runtime("milrun", "declared")])
    return next(check for check in checks if (check.mode, check.variant) == (mode, variant))


def said(verdict: Verdict) -> dict[str, str]:
    return {f"{finding.output} {finding.gate}": finding.message for finding in verdict.failures}


@pytest.mark.parametrize("variant", ["fp32", "fp16"])
@pytest.mark.parametrize(
    ("fault", "broken"),
    [
        (Module, {}),
        (MaskIgnored, {"mask moves": "does not move with it: the artifact ignores it"}),
        (SpeedIgnored, {"speed moves": "lasts does not move with it: the artifact ignores it"}),
        (SpeedInverted, {"speed moves": "lasts moves with it otherwise than in the module"}),
        (TableOneShort, {"tokens 12 edge": "is this far from the module's"}),
    ],
)
def test_an_artifact_with_a_fault_that_no_golden_shows_fails(
    fault: type[Module], broken: dict[str, str], variant: str, tmp_path: Path
) -> None:
    made = bench(tmp_path, system(cases=ONE_SPEED), system(fault))
    assert all(finding.gate == "gated" for finding in made.run(check("forced", variant, ONE_SPEED)).failures)
    found = said(made.run(check("probed", variant, ONE_SPEED)))
    assert found.keys() == broken.keys()
    for name, words in broken.items():
        assert words in found[name]


def test_an_input_that_the_graph_does_not_read_fails(tmp_path: Path) -> None:
    found = said(bench(tmp_path, system(), system(MaskUnread)).run(check("forced", "fp32")))
    assert "no output depends on the input `mask`" in found["interface unread"]


def test_an_input_with_one_value_in_all_cases_fails_without_a_reason(tmp_path: Path) -> None:
    verdict = bench(tmp_path, system(fixed=False)).run(check("exercised", "glue"))
    assert said(verdict).keys() == {"speech.mask exercised"}
    assert "declared, never exercised: it has the same value in every case and step of slow, fast" in str(said(verdict))


def test_a_reason_for_such_an_input_is_shown(tmp_path: Path) -> None:
    verdict = bench(tmp_path, system()).run(check("exercised", "glue"))
    assert verdict.passed
    shown = {finding.output: finding.message for finding in verdict.findings}
    assert shown["speech.mask"] == f"never varies: {small.WHY}"
    assert shown["speech.speed"] == "takes several values"


def test_cases_of_one_speed_leave_it_unexercised(tmp_path: Path) -> None:
    verdict = bench(tmp_path, system(cases=ONE_SPEED)).run(check("exercised", "glue"))
    assert said(verdict).keys() == {"speech.speed exercised"}


def test_a_branch_of_the_glue_that_no_case_takes_fails(tmp_path: Path) -> None:
    verdict = bench(tmp_path, system(glue=forgotten)).run(check("exercised", "glue"))
    (message,) = said(verdict).values()
    line = forgotten.__code__.co_firstlineno + 3
    assert said(verdict).keys() == {"host branches"}
    assert f"test_unexercised.py:{line} `speed > 2` is never true; " in message
    assert f"test_unexercised.py:{line + 1} never runs. Add a case that takes it" in message


@pytest.mark.parametrize(
    ("glue", "line", "told"),
    [
        (floored, 3, ["`np.maximum(case.inputs['speed'], np.float32(0.5))` never gives `np.float32(0.5)` alone"]),
        (
            clipped,
            3,
            [
                "`np.clip(case.inputs['speed'], np.float32(0.8), np.float32(2))` never gives `np.float32(0.8)` alone",
                "`np.clip(case.inputs['speed'], np.float32(0.8), np.float32(2))` never gives `np.float32(2)` alone",
            ],
        ),
        (shortened, 2, ["`min(case.inputs['ids'].shape[1], 10)` never gives `10` alone"]),
    ],
)
def test_a_limit_of_the_glue_that_no_case_reaches_fails(
    glue: Callable[[Run, Case], None], line: int, told: list[str], tmp_path: Path
) -> None:
    verdict = bench(tmp_path, system(glue=glue)).run(check("exercised", "glue"))
    assert said(verdict).keys() == {"host branches"}
    place = f"test_unexercised.py:{glue.__code__.co_firstlineno + line}"  # type: ignore[attr-defined]
    for one in told:
        assert f"{place} {one}" in said(verdict)["host branches"]


def test_a_limit_with_a_reason_is_excused(tmp_path: Path) -> None:
    verdict = bench(tmp_path, system(glue=capped)).run(check("exercised", "glue"))
    assert verdict.passed
    assert "the app's field ends at 10" in verdict.findings[-1].message


def test_the_names_of_the_glue_are_its_own_again(tmp_path: Path) -> None:
    before = dict(vars(sys.modules[__name__]))
    bench(tmp_path, system(glue=shortened)).run(check("exercised", "glue"))
    assert vars(sys.modules[__name__]) == before


def test_glue_that_makes_another_value_fails_without_a_chain(tmp_path: Path) -> None:
    found = said(bench(tmp_path, system(glue=hurried)).run(check("exercised", "glue")))
    assert found.keys() == {"speech.speed glue"}
    assert "case fast: the host made" in found["speech.speed glue"]


def test_a_branch_with_a_reason_is_excused_and_the_reason_shown(tmp_path: Path) -> None:
    verdict = bench(tmp_path, system(glue=excused)).run(check("exercised", "glue"))
    assert verdict.passed
    assert "the app's slider ends at 2" in verdict.findings[-1].message


def test_an_excuse_without_a_reason_is_none(tmp_path: Path) -> None:
    verdict = bench(tmp_path, system(glue=excused_for_nothing)).run(check("exercised", "glue"))
    assert '`case.inputs["speed"] > 2` is never true' in said(verdict)["host branches"]


def test_the_expression_that_two_cases_take_in_turn_is_whole(tmp_path: Path) -> None:
    alone = system(cases=(case("slow", 5, 0.8), case("slower", 4, 0.7)))
    assert "`ids.shape[1] > 6` is never true" in str(said(bench(tmp_path, alone).run(check("exercised", "glue"))))
    assert bench(tmp_path, system()).run(check("exercised", "glue")).passed


def by_list(run: Run, case: Case) -> None:
    """Names its stage by a list, through which the modules are reached, too."""
    ids, speed = case.inputs["ids"], case.inputs["speed"]
    for name, _ in LIST:
        run(name, {"ids": ids, "mask": np.ones_like(ids), "speed": speed})


LIST = [("speech", TableOneShort)]


def test_modules_that_the_glue_reaches_by_a_list_are_not_host_code(tmp_path: Path) -> None:
    assert bench(tmp_path, system(glue=by_list)).run(check("exercised", "glue")).passed


def test_one_case_exercises_what_holds_several_values(tmp_path: Path) -> None:
    verdict = bench(tmp_path, system(cases=(case("slow", 5, 0.8),), fixed=False)).run(check("exercised", "glue"))
    inputs = {name for name, message in said(verdict).items() if "never exercised" in message}
    assert inputs == {"speech.mask exercised", "speech.speed exercised"}
