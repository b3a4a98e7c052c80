"""A run is held against what there is to judge: what was left out, foreign or idle is named, and so is what went."""

from dataclasses import replace

import pytest

from parity.base.fingerprint import digest
from parity.gate import bounds, retired, take_survey
from parity.gate.bounds import Bounds
from parity.gate.coverage import uncovered
from parity.gate.survey import Survey, Surveyed
from parity.judge import budgets_toml, gates
from parity.judge.gates import GateError
from parity.record.run import Errored, RunRecord
from parity.verdict import Finding, Verdict
from tests.support import report_samples, stepping_system


def check(stage: str, variant: str = "fp16", case: str = "hello", system: str = "tiny") -> Surveyed:
    parts = {"stage": stage, "variant": variant, "case": case}
    return Surveyed(system, stage, variant, case, "forced", parts, {}, {"y": {"cosine": "≥ 0.9", "max_abs": "≤ 1"}})


def of(*checks: Surveyed) -> Survey:
    named = {verdict(one).id: one for one in checks}
    return Survey("", named, {}, {}, {}, ())


def verdict(one: Surveyed, gates: tuple[str, ...] = ("cosine", "max_abs"), passed: bool = True) -> Verdict:
    found = tuple(Finding("y", gate, passed, 1.0) for gate in gates)
    named = report_samples.check(one.stage, one.variant, one.case, system=one.system)
    return Verdict(named, found, evidence=digest(one.parts))


def run(*verdicts: Verdict) -> RunRecord:
    expected = tuple(one.check for one in verdicts)
    return replace(report_samples.clean(), verdicts=verdicts, expected=expected)


FRONT, BACK = check("front"), check("back")


def test_what_judged_everything_has_nothing_uncovered() -> None:
    assert uncovered(run(verdict(FRONT), verdict(BACK)), of(FRONT, BACK)) == []


def test_a_check_that_the_run_never_selected_is_named() -> None:
    (problem,) = uncovered(run(verdict(FRONT)), of(FRONT, BACK))
    assert problem.where == "tiny-back-fp16-hello-forced-milrun-declared"
    assert "the run left it out" in problem.what


def test_many_of_one_kind_are_one_problem() -> None:
    cases = [check("back", case=f"case{number}") for number in range(30)]
    (problem,) = uncovered(run(verdict(FRONT)), of(FRONT, *cases))
    assert problem.line().startswith("tiny-back-fp16-case0-forced-milrun-declared and 29 more: ")


def test_a_verdict_on_other_artifacts_than_this_code_makes_is_named() -> None:
    foreign = replace(verdict(BACK), evidence="f" * 64)
    (problem,) = uncovered(run(verdict(FRONT), foreign), of(FRONT, BACK))
    assert problem.where == foreign.id
    assert "other evidence" in problem.what


def test_a_gate_that_judged_nothing_is_named() -> None:
    (problem,) = uncovered(run(verdict(FRONT, gates=("cosine",))), of(FRONT))
    assert problem.line() == f"{verdict(FRONT).id}, y max_abs: this gate exists but was never evaluated in this run"


@pytest.mark.parametrize(("stage", "owner"), [("step", ""), ("chain", "step.")])
def test_a_gate_of_a_family_is_evaluated_by_each_of_its_outputs(stage: str, owner: str) -> None:
    step = stepping_system.stage()
    system = replace(
        stepping_system.system(),
        stages=(
            replace(
                step,
                carries={**step.carries, "cache1_out": "cache1"},
                outputs={**step.outputs, "cache1_out": step.outputs["cache0_out"]},
            ),
        ),
    )
    gates = {f"{owner}cache*": {"cosine": "≥ 0.9"}, f"{owner}answer": {"cosine": "≥ 0.9"}}
    one = replace(check(stage), gates=gates, families=take_survey.families(system, stage))

    def judged(*outputs: str) -> Verdict:
        found = tuple(Finding(owner + output, "cosine", True, 1.0) for output in outputs)
        return replace(verdict(one), findings=found)

    assert uncovered(run(judged("cache0_out", "cache1_out", "answer")), of(one)) == []
    (problem,) = uncovered(run(judged("answer")), of(one))
    assert f"{owner}cache* cosine: this gate exists but was never evaluated" in problem.line()


def test_what_the_run_tells_by_itself_is_not_told_twice() -> None:
    broken = verdict(FRONT, gates=("cosine",), passed=False)
    raised = replace(run(broken), errors=(Errored(verdict(BACK).id, "no memory"),))
    unselected = replace(check("tail"), fault="StaleGolden: …")
    skipped = replace(raised, expected=(*raised.expected, verdict(unselected).check))
    assert uncovered(skipped, of(FRONT, BACK, unselected)) == []


@pytest.mark.parametrize(
    ("left", "name", "count"),
    [
        ([check("front", system="other")], "tiny", 4),
        ([FRONT, check("front", case="goodbye")], "tiny.back", 2),
        ([FRONT, BACK], "tiny.case.goodbye", 2),
        ([FRONT, check("front", case="goodbye"), BACK], "tiny-back-fp16-goodbye-forced-milrun-declared", 1),
    ],
)
def test_what_is_gone_is_named_by_the_most_that_is_gone(left: list[Surveyed], name: str, count: int) -> None:
    base = of(*(check(stage, case=case) for stage in ("front", "back") for case in ("hello", "goodbye")))
    (found,) = retired.retired(base, of(*left), {}, {})
    assert (found.name, found.checks) == (name, count)
    assert "nobody said why" in found.problem
    assert f'"{name.removeprefix("tiny.")}" = ' in found.problem

    (found,) = retired.retired(base, of(*left), {}, {name: "the app does it"})
    assert (found.problem, found.reason) == ("", "the app does it")


def test_a_variant_that_is_gone_is_named_with_its_stage() -> None:
    (found,) = retired.retired(of(FRONT, check("front", "fp32")), of(FRONT), {}, {"tiny.front": "all of it moved"})
    assert found.line() == "tiny.front.fp32: 1 check gone (all of it moved)"


def test_a_retirement_from_before_says_nothing_about_what_goes_now() -> None:
    old = {"tiny.back": "it was slow"}
    (found,) = retired.retired(of(FRONT, BACK), of(FRONT), old, old)
    assert "stood there before" in found.problem


def test_nothing_gone_is_nothing_found() -> None:
    assert retired.retired(of(FRONT), of(FRONT, BACK), {}, {}) == []


GATES = '[front.fp16.y]\ncosine = { min = 0.99, derived_from = "0.999" }\n'
BUDGETS = '[bundle]\nsize_mb = { min = 1.0, max = 2.0, measured = 1.5, derived_from = "1.5" }\n'


def test_a_system_that_went_with_its_files_needs_a_reason_for_each_bound_or_one_for_all() -> None:
    before = Bounds({"tiny": gates.parse(GATES, "")}, {"tiny": budgets_toml.parse(BUDGETS, "")})
    found = bounds.loosenings(before, Bounds())
    assert [one.name for one in found] == ["tiny.front.fp16.y.cosine", "tiny.bundle.size_mb"]
    assert all("taken away without a reason" in one.problem for one in found)
    assert bounds.loosenings(before, Bounds(reasons={"tiny": "nobody ships it"})) == []


def test_a_looser_budget_is_found_beside_the_gates() -> None:
    before = Bounds(budgets={"tiny": budgets_toml.parse(BUDGETS, "")})
    now = Bounds(budgets={"tiny": budgets_toml.parse(BUDGETS.replace("max = 2.0", "max = 3.0"), "")})
    (found,) = bounds.loosenings(before, now)
    assert found.name == "tiny.bundle.size_mb"
    assert "without a reason" in found.problem


def test_a_retirement_without_a_reason_is_none() -> None:
    assert retired.parse('tiny = "nobody ships it"', "retired.toml") == {"tiny": "nobody ships it"}
    for text in ('tiny = ""', "tiny = 3", "tiny = "):
        with pytest.raises(GateError, match=r"retired\.toml"):
            retired.parse(text, "retired.toml")
