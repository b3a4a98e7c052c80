"""A run is held against the checks that the code declares: what was left out, foreign or idle is named."""

from dataclasses import replace
from functools import partial

import pytest

from parity.gate.coverage import Expected, uncovered
from parity.record.run import Errored, RunRecord
from parity.verdict import Finding, Verdict
from tests.support import report_samples, stepping_system

GATES = frozenset({("y", "cosine"), ("y", "max_abs")})


def expected(stage: str, case: str = "hello") -> Expected:
    check = report_samples.check(stage, "fp16", case, system="tiny")
    return Expected(check, f"evidence of {check.id}", GATES, lambda output: output)


def verdict(one: Expected, gates: tuple[str, ...] = ("cosine", "max_abs"), passed: bool = True) -> Verdict:
    return Verdict(one.check, tuple(Finding("y", gate, passed, 1.0) for gate in gates), evidence=one.evidence)


def run(*verdicts: Verdict) -> RunRecord:
    return replace(report_samples.clean(), verdicts=verdicts, expected=tuple(one.check for one in verdicts))


FRONT, BACK = expected("front"), expected("back")


def test_what_judged_everything_has_nothing_uncovered() -> None:
    assert list(uncovered(run(verdict(FRONT), verdict(BACK)), [FRONT, BACK])) == []


def test_a_check_that_the_run_never_selected_is_named() -> None:
    (problem,) = uncovered(run(verdict(FRONT)), [FRONT, BACK])
    assert problem.where == "tiny-back-fp16-hello-forced-milrun-declared"
    assert "the run left it out" in problem.what


def test_many_of_one_kind_are_one_problem() -> None:
    cases = [expected("back", case=f"case{number}") for number in range(30)]
    (problem,) = uncovered(run(verdict(FRONT)), [FRONT, *cases])
    assert problem.line().startswith("tiny-back-fp16-case0-forced-milrun-declared and 29 more: ")


def test_a_verdict_on_the_evidence_of_other_code_is_named() -> None:
    foreign = replace(verdict(BACK), evidence="f" * 64)
    (problem,) = uncovered(run(verdict(FRONT), foreign), [FRONT, BACK])
    assert problem.where == foreign.id
    assert "the evidence of other code" in problem.what


def test_a_pass_on_evidence_that_can_not_be_determined_is_named() -> None:
    lost = replace(BACK, evidence="", fault="StaleGolden: …")
    (problem,) = uncovered(run(verdict(BACK)), [lost])
    assert problem.line() == f"{BACK.check.id}: the key of its evidence can't be determined: StaleGolden: …"


def test_a_gate_that_judged_nothing_is_named() -> None:
    (problem,) = uncovered(run(verdict(FRONT, gates=("cosine",))), [FRONT])
    assert problem.line() == f"{FRONT.check.id}, y max_abs: this gate exists but was never evaluated in this run"


@pytest.mark.parametrize(("stage", "owner"), [("step", ""), ("chain", "step.")])
def test_a_gate_of_a_family_is_evaluated_by_each_of_its_outputs(stage: str, owner: str) -> None:
    step = stepping_system.stage()
    caches = {**step.outputs, "cache1_out": step.outputs["cache0_out"]}
    two = replace(step, carries={**step.carries, "cache1_out": "cache1"}, outputs=caches)
    family = partial(replace(stepping_system.system(), stages=(two,)).family, stage)
    gates = frozenset({(f"{owner}cache*", "cosine"), (f"{owner}answer", "cosine")})
    one = replace(expected(stage), gates=gates, family=family)

    def judged(*outputs: str) -> Verdict:
        return replace(verdict(one), findings=tuple(Finding(owner + name, "cosine", True, 1.0) for name in outputs))

    assert list(uncovered(run(judged("cache0_out", "cache1_out", "answer")), [one])) == []
    (problem,) = uncovered(run(judged("answer")), [one])
    assert f"{owner}cache* cosine: this gate exists but was never evaluated" in problem.line()


def test_what_the_run_tells_by_itself_is_not_told_twice() -> None:
    broken = verdict(FRONT, gates=("cosine",), passed=False)
    raised = replace(run(broken), errors=(Errored(BACK.check.id, "no memory"),))
    stale = replace(expected("tail"), evidence="", fault="StaleGolden: …")
    assert list(uncovered(replace(raised, expected=(*raised.expected, stale.check)), [FRONT, BACK, stale])) == []
