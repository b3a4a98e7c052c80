"""The gate before a merge, on a whole small project: what it lets through and what it stops."""

import json
import time
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import pytest
from filelock import FileLock

from tests.support.project import CONVERTED, GATES, HOOKS, REFERENCES, SETTINGS, Project

REPORTS = ("gate.md", "gate.json", "junit.xml", "report.html")
BROKEN = ("torch.tanh(self.conv(x))", "1.05 * torch.tanh(self.conv(x))")


def gated(project: Project, code: int, *arguments: str) -> dict[str, Any]:
    """What the gate found; all its reports have to agree with its exit code."""
    finished = project.run("parity", "gate", *arguments)
    assert finished.code == code, finished.said
    for name in REPORTS:
        assert project.path(f".parity/gate/{name}").stat().st_size, f"{name} is missing or empty"
    found = json.loads(project.read(".parity/gate/gate.json"))
    junit = ElementTree.fromstring(project.read(".parity/gate/junit.xml"))
    assert bool([*junit.iter("failure"), *junit.iter("error")]) is (code != 0), "JUnit is greener than the gate"
    assert found["passed"] is (code == 0)
    assert ("✅ Gate PASSED" in project.read(".parity/gate/gate.md")) is (code == 0)
    assert ('data-verdict="passed"' in page(project) or "✓ Parity" in page(project)) is (code == 0)
    return dict(found)


def page(project: Project) -> str:
    return project.read(".parity/gate/report.html")


def affected(found: dict[str, Any]) -> dict[str, int]:
    return {row["stage"]: row["affected"] for row in found["affected"]}


def problems(found: dict[str, Any]) -> str:
    return "\n".join([*found["problems"], *found["run_problems"]])


def test_nothing_changed_is_checked_all_the_same_and_passes(project: Project) -> None:
    found = gated(project, 0)
    assert found["files"] == []
    assert affected(found) == {"front": 0, "back": 0, "chain": 0}
    assert found["run"]


def test_a_comment_affects_nothing_whatever_file_it_is_in(project: Project) -> None:
    project.edit(CONVERTED, "# squashes", "# squashes what comes")
    project.commit()
    found = gated(project, 0, "--base", "HEAD~1")
    assert found["files"] == [CONVERTED]
    assert affected(found) == {"front": 0, "back": 0, "chain": 0}


def test_a_converter_that_breaks_parity_is_stopped_at_its_stage(project: Project) -> None:
    project.edit(CONVERTED, *BROKEN)
    found = gated(project, 1)
    assert affected(found) == {"front": 8, "back": 0, "chain": 4}
    assert found["files"] == [CONVERTED]
    said = [line for line in found["run_problems"] if line.startswith("tiny-front-fp16-hello")]
    assert "hidden" in said[0]
    assert "relative_l2" in said[0]
    assert not any(line.startswith("tiny-back") for line in found["run_problems"])
    assert CONVERTED in project.read(".parity/gate/gate.md")

    project.mark("pytest.mark.xfail(strict=False)")
    assert "tiny-front-fp16-hello" in problems(gated(project, 1)), "a marker hid what is broken"


def test_what_became_easier_to_pass_needs_a_reason_of_its_own(project: Project) -> None:
    project.change_gate("front.fp16.hidden", "cosine", "min = 0.999999,", "min = 0.9,")
    project.change_gate("back.fp16.y", "max_relative", "", "")
    found = gated(project, 1)
    assert "tiny.front.fp16.hidden.cosine: ≥ 0.999999 → ≥ 0.9: looser without a reason" in problems(found)
    assert "tiny.back.fp16.y.max_relative" in problems(found)
    assert "taken away without a reason" in problems(found)
    (unexplained,) = found["run_problems"]
    assert "tiny: front.fp16.hidden.cosine: ≥ 0.9 does not follow from its derived_from" in unexplained
    assert "looser without a reason" in page(project)
    assert affected(found) == {"front": 0, "back": 0, "chain": 0}

    project.change_gate("front.fp16.hidden", "cosine", " } }", ' }, reason = "a wider kernel" }')
    retired = '\n[retired]\n"back.fp16.y.max_relative" = "relative_l2 sees all that it saw"\n'
    project.write(GATES, project.read(GATES) + retired)
    found = gated(project, 0)
    assert {one["reason"] for one in found["loosenings"]} == {"a wider kernel", "relative_l2 sees all that it saw"}
    assert "a wider kernel" in project.read(".parity/gate/gate.md")


def test_code_that_changes_while_the_gate_runs_is_no_pass(project: Project) -> None:
    project.write(HOOKS, "from pathlib import Path\n\ndef pytest_sessionfinish():\n    Path('late.py').touch()\n")
    found = gated(project, 1)
    assert "the working tree: its code changed while the gate ran: run it again" in problems(found)


def without_back(project: Project) -> None:
    project.edit(CONVERTED, "(FRONT, BACK)", "(FRONT,)")
    project.edit(
        CONVERTED, 'run("back", run("front", {"x": case.inputs["x"]}))', 'run("front", {"x": case.inputs["x"]})'
    )
    blocks = project.read(GATES).split("\n\n")
    project.write(GATES, "\n\n".join(block for block in blocks if "back" not in block.partition("\n")[0]))


def test_a_stage_that_is_gone_with_all_its_gates_needs_a_reason(project: Project) -> None:
    without_back(project)
    found = gated(project, 1)
    assert found["run_problems"] == []
    assert "tiny.back.fp16.y.cosine: ≥ 0.999999 → no bound: taken away without a reason" in problems(found)

    gone = ("back", "chain.ships.back.y", "chain.fp32.back.y")
    lines = [f'"{name}" = "the app does that itself"\n' for name in gone]
    project.write(GATES, project.read(GATES) + "\n[retired]\n" + "".join(lines))
    found = gated(project, 0)
    assert {one["reason"] for one in found["loosenings"]} == {"the app does that itself"}


def test_a_case_that_is_gone_needs_a_reason(project: Project) -> None:
    project.edit(REFERENCES, 'case("hello", 12), case("goodbye", 20)', 'case("hello", 12),')
    assert "tiny.case.goodbye: a recorded case → no case: taken away without a reason" in problems(gated(project, 1))
    project.write("golden/retired.toml", '"tiny.case.goodbye" = "too long for CI"\n')
    assert [one["reason"] for one in gated(project, 0)["loosenings"]] == ["too long for CI"]


def test_a_case_that_became_long_needs_a_reason(project: Project) -> None:
    long = "from dataclasses import replace\n\nimport numpy as np"
    project.edit(REFERENCES, "import numpy as np", long)
    project.edit(REFERENCES, 'case("goodbye", 20)', 'replace(case("goodbye", 20), short=False)')
    assert "tiny.case.goodbye: a short case → a long case: taken away without a reason" in problems(gated(project, 1))
    project.write("golden/retired.toml", '"tiny.case.goodbye" = "too long for CI"\n')
    assert [one["reason"] for one in gated(project, 0)["loosenings"]] == ["too long for CI"]


def test_bounds_are_compared_wherever_they_lay_before(project: Project) -> None:
    project.change_gate("back.fp16.y", "max_relative", "", "")
    project.git("mv", "golden", "truth")
    project.edit(SETTINGS, "[tool.parity]", '[tool.parity]\ngolden = "truth"')
    assert "tiny.back.fp16.y.max_relative" in problems(gated(project, 1))


def ignored(project: Project) -> None:
    project.write(".gitignore", project.read(".gitignore") + "golden/\n")
    project.git("rm", "-r", "--cached", "--quiet", "golden")


def linked(project: Project) -> None:
    project.path("golden").rename(project.path("truth"))
    project.path("golden").symlink_to("truth")


@pytest.mark.parametrize("hide", [ignored, linked])
def test_bounds_that_git_does_not_keep_are_no_pass(hide: Callable[[Project], None], project: Project) -> None:
    hide(project)
    project.commit()
    found = gated(project, 1, "--base", "HEAD")
    assert "golden/tiny/gates.toml: git does not keep this file" in problems(found)
    assert "golden/tiny/lock.json: git does not keep this file" in problems(found)
    assert any("the base has no gates" in note for note in found["notes"])


def test_a_run_without_a_check_does_not_pass(project: Project) -> None:
    project.write(HOOKS, "def pytest_collection_modifyitems(items):\n    items.clear()\n")
    found = gated(project, 1)
    assert "nothing was judged: the run has no verdict at all" in problems(found)
    assert "a hook, a plugin or a setting such as collect_ignore removed them" in problems(found)


def skipped(project: Project) -> None:
    project.mark('pytest.mark.skip(reason="later")')


def not_asked_for(project: Project) -> None:
    project.edit(SETTINGS, 'addopts = "', 'addopts = "-k front ')


def unable_to_import(project: Project) -> None:
    project.edit(CONVERTED, "FRAMES = Dim(", 'raise RuntimeError("half an edit")\nFRAMES = Dim(')


def unable_to_build(project: Project) -> None:
    project.edit(CONVERTED, BROKEN[0], "torch.tanh(self.konv(x))")


def stale(project: Project) -> None:
    project.edit(REFERENCES, "hidden, y = model(x)", "hidden, y = model(1.0 * x)")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (skipped, "expected, but skipped"),
        (not_asked_for, "-k front in addopts of pyproject.toml removed them"),
        (unable_to_import, "half an edit"),
        (unable_to_build, "the check raised"),
        (stale, "stale"),
    ],
)
def test_a_run_that_did_not_judge_everything_is_no_pass(
    damage: Callable[[Project], None], says: str, project: Project
) -> None:
    damage(project)
    assert says in problems(gated(project, 1))


def test_a_base_without_bounds_has_none_to_loosen(project: Project) -> None:
    assert gated(project, 0, "--base", "HEAD~1")["loosenings"] == []


def test_a_base_that_nobody_knows_can_not_be_told_from_a_pass_by_accident(project: Project) -> None:
    finished = project.run("parity", "gate", "--base", "origin/nowhere")
    assert finished.code == 2
    assert "there is no such revision" in finished.said
    assert "git fetch" in finished.said


def test_a_fault_of_the_gate_itself_is_no_pass(project: Project) -> None:
    breaks = "\n\nfrom parity.gate import report\n\ndel report.render\n"
    project.write(CONVERTED, project.read(CONVERTED) + breaks)
    finished = project.run("parity", "gate")
    assert finished.code == 1
    assert "NameError" in finished.said


def test_killed_it_leaves_nothing_that_looks_like_a_verdict_and_the_next_is_clean(project: Project) -> None:
    project.edit(CONVERTED, "# squashes", "# squashes what comes")
    verdicts = ".parity/runs/*/verdicts/*.json"
    for name in REPORTS:
        project.write(f".parity/gate/{name}", "of an earlier gate")
    before = set(project.folder.glob(verdicts))
    process = project.start("parity", "gate")
    while process.poll() is None and set(project.folder.glob(verdicts)) <= before:
        time.sleep(0.001)
    process.kill()
    assert process.wait() < 0, "it was done before its run had a verdict"
    assert not list(project.path(".parity/gate").iterdir())
    assert affected(gated(project, 0)) == {"front": 0, "back": 0, "chain": 0}


def test_two_at_once_take_turns(project: Project) -> None:
    with FileLock(project.path(".parity/gate.lock")):
        process = project.start("parity", "gate")
        assert process.stdout
        assert "this one waits for it" in process.stdout.readline()
        assert process.poll() is None
    assert process.stdout.readline()
    process.kill()
