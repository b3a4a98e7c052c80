"""What a change affects is what its fingerprints say, stage by stage: no more and no less."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from parity.gate import affected, survey
from parity.gate.survey import Survey, SurveyError
from tests.support.project import CONVERTED, GATES, REFERENCES, Project

STAGES = {"front": 6, "back": 6, "chain": 4}
NONE = {"front": 0, "back": 0, "chain": 0}


def surveyed(project: Project) -> Survey:
    return survey.decode(project.done("parity", "fingerprints", "--json").splitlines()[-1])


@pytest.fixture(scope="module")
def base(green_project: Project, tmp_path_factory: pytest.TempPathFactory) -> Survey:
    return surveyed(green_project.copy(tmp_path_factory.mktemp("base") / "project"))


def counts(rows: list[affected.Affected]) -> dict[str, int]:
    return {row.stage: len(row.affected) for row in rows}


def why(rows: list[affected.Affected]) -> dict[str, tuple[str, ...]]:
    return {row.stage: row.why for row in rows if row.affected}


CHANGES: Mapping[str, tuple[str, str, str, dict[str, int], str]] = {
    "the module of the last stage": (
        CONVERTED,
        "return self.conv(hidden)",
        "return self.conv(hidden) + 0",
        {"front": 0, "back": 6, "chain": 4},
        "module Back changed",
    ),
    "an option of a stage": (
        CONVERTED,
        'outputs={"y"',
        'compute_units="CPU_ONLY",\n    outputs={"y"',
        {"front": 0, "back": 4, "chain": 4},
        "stage compute_units: ALL → CPU_ONLY",
    ),
    "the host glue": (
        CONVERTED,
        "def chain(run, case):\n",
        "def chain(run, case):\n    assert case.inputs\n",
        {"front": 0, "back": 0, "chain": 4},
        "host glue chain changed",
    ),
    "a metric": (
        "parity/compare/metrics/__init__.py",
        "__all__ = ",
        "ADDED = 1\n__all__ = ",
        STAGES,
        "metrics changed",
    ),
    "the runtime": (
        "milrun/__init__.py",
        "__all__ = ",
        "ADDED = 1\n__all__ = ",
        {"front": 4, "back": 4, "chain": 4},
        "runtime milrun changed",
    ),
    "a comment": (CONVERTED, "# squashes", "# squashes what comes", NONE, ""),
    "the reason of a bound": (GATES, 'derived_from = "worst', 'derived_from = "the worst', NONE, ""),
}


@pytest.mark.parametrize(("path", "old", "new", "expected", "reason"), CHANGES.values(), ids=list(CHANGES))
def test_a_change_affects_what_its_hashes_reach(
    path: str, old: str, new: str, expected: dict[str, int], reason: str, base: Survey, project: Project
) -> None:
    text = project.read(path)
    assert old in text
    project.write(path, text.replace(old, new, 1))
    rows = affected.affected(base, surveyed(project))
    assert counts(rows) == expected
    assert all(reason in " ".join(reasons) for reasons in why(rows).values())


def test_a_bound_affects_the_checks_that_it_judges_and_no_other(base: Survey, project: Project) -> None:
    project.change_gate("back.fp16.y", "cosine", "0.999999,", "0.9999995,")
    rows = affected.affected(base, surveyed(project))
    assert why(rows) == {"back": ("gate y.cosine: ≥ 0.999999 → ≥ 0.9999995",)}
    assert [row.affected for row in rows if row.affected] == [
        ("tiny-back-fp16-hello-forced-milrun-declared", "tiny-back-fp16-goodbye-forced-milrun-declared")
    ]


def test_other_weights_affect_everything_and_leave_the_goldens_stale(base: Survey, project: Project) -> None:
    project.edit(REFERENCES, "-0.5, 0.7", "-0.5, 0.8")
    now = surveyed(project)
    rows = affected.affected(base, now)
    assert counts(rows) == STAGES
    assert "weights recipe changed" in why(rows)["front"]
    assert any("StaleGolden" in reason for reason in why(rows)["front"])
    assert [problem for problem in now.problems if "case goodbye" in problem], "every case is looked at"


def test_a_new_case_is_new_and_the_others_are_as_they_were(base: Survey, project: Project) -> None:
    project.edit(REFERENCES, 'case("goodbye", 20))', 'case("goodbye", 20), case("again", 8))')
    rows = affected.affected(base, surveyed(project))
    assert counts(rows) == {"front": 3, "back": 3, "chain": 2}
    assert why(rows) == {"front": ("new",), "back": ("new",), "chain": ("new",)}


def test_a_library_affects_all_that_depends_on_it(base: Survey) -> None:
    old = {
        id: replace(check, parts={**check.parts, "libraries": {"torch": "1.0"}}) for id, check in base.checks.items()
    }
    rows = affected.affected(replace(base, checks=old), base)
    assert counts(rows) == STAGES
    assert any(reason.startswith("libraries torch: 1.0 → ") for reason in why(rows)["chain"])


def test_without_a_base_everything_is_affected_and_it_says_why(base: Survey) -> None:
    rows = affected.affected(None, base, "the base is of another age")
    assert counts(rows) == STAGES
    assert set(why(rows).values()) == {("the base is of another age",)}


def test_what_makes_a_check_and_is_not_explained_is_still_said(base: Survey) -> None:
    id, check = next(iter(base.checks.items()))
    other = replace(base, checks={**base.checks, id: replace(check, parts={**check.parts, "glue": "0" * 64})})
    assert why(affected.affected(other, base)) == {"front": ("its parts changed",)}


def test_budgets_are_told_apart_for_they_judge_no_check(base: Survey) -> None:
    before = replace(base, budgets={"tiny": {"bundle.size_mb": "≤ 2"}})
    now = replace(base, budgets={"tiny": {"bundle.size_mb": "≤ 3"}})
    assert affected.budgets(before, now) == ["tiny: budget bundle.size_mb: ≤ 2 → ≤ 3"]
    assert counts(affected.affected(before, now)) == NONE


def test_many_reasons_are_counted_and_not_all_named() -> None:
    row = affected.Affected("tiny", "front", 6, ("a", "b"), tuple("one two three four five six".split()))
    assert row.line() == "tiny front: 2 of 6 checks affected: one; two; three; four; and 2 more"


def test_what_a_converter_prints_is_no_part_of_the_survey(project: Project) -> None:
    project.edit(CONVERTED, "FRAMES = Dim(", 'print("hello from the converter")\nFRAMES = Dim(')
    surveyed(project)


def test_a_survey_survives_the_way_to_another_process(base: Survey) -> None:
    assert survey.decode(survey.encode(base)) == base


def test_a_survey_that_is_damaged_of_another_age_or_empty_is_none(base: Survey) -> None:
    text = survey.encode(base)
    for damaged, says in (
        (text[:-20], "can read"),
        (text.replace('"schema": 2', '"schema": 1'), "schema 1"),
        (text.replace('"glue"', '"glu"'), "glu"),
        (survey.encode(replace(base, checks={})), "nothing to check"),
        ("[]", "can read"),
        ("it said nothing", "can read"),
    ):
        with pytest.raises(SurveyError, match=says):
            survey.decode(damaged)


def test_an_answer_of_other_code_than_was_asked_is_refused(base: Survey, tmp_path: Path) -> None:
    package = tmp_path / "parity"
    package.mkdir()
    (package / "__main__.py").write_text(f"print({survey.encode(base)!r})")
    with pytest.raises(SurveyError, match="other code than its own"):
        survey.ask(tmp_path)
    (package / "__main__.py").write_text("raise LookupError('no such converter')")
    with pytest.raises(SurveyError, match="ended with 1: LookupError: no such converter"):
        survey.ask(tmp_path)
