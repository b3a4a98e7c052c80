"""What the plugin collects, by mark, by path and by option, in a small project."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest

from tests.support.project import CONVERTED, GATES, HOOKS, REFERENCE, REFERENCES, SETTINGS, SYSTEM, Project
from tests.support.runs import artifacts, checked, gathered

OWN = "def test_mine():\n    pass\n"
FP16 = 'Variant("fp16", "float16", ships=True'


def test_the_mark_alone_collects_checks_alone_and_a_plain_run_everything(project: Project) -> None:
    project.write("tests/test_mine.py", OWN)
    project.write("tests/test_broken.py", "raise RuntimeError('nobody collects this')\n")
    assert checked(project).green
    project.remove("tests/test_broken.py")
    run = checked(project, mark="")
    assert run.green
    assert "23 passed" in run.said
    assert "1 passed" in project.done("pytest", "-q", "tests")
    assert not list(project.folder.glob(".parity/locks/run.*"))


def test_a_check_is_run_by_its_name(project: Project) -> None:
    run = checked(project, f"{CONVERTED}::tiny-front-fp16-hello-forced-milrun-declared", mark="")
    assert run.green
    assert list(run.verdicts) == ["tiny-front-fp16-hello-forced-milrun-declared"]


def test_a_system_in_one_file_is_checked(project: Project) -> None:
    converter = SYSTEM[CONVERTED].replace("from references.tiny import REFERENCE\n", "")
    project.write("port.py", REFERENCE + converter)
    project.edit(SETTINGS, '"converters"', '"port.py"')
    project.done("golden", "refresh", "tiny")
    assert "port.py ...." in project.done("pytest", "-m", "parity")


def test_a_system_that_is_not_there_is_a_usage_error(project: Project) -> None:
    project.edit(SETTINGS, '"converters"', '"prot.py"')
    found = project.run("pytest", "-m", "parity")
    assert found.code == 4
    assert "[tool.parity] names 'prot.py' in `systems`" in found.said
    project.edit(SETTINGS, "systems", "sistems")
    found = project.run("pytest", "-m", "parity")
    assert found.code == 4
    assert "sistems" in found.said
    assert "systems" in found.said


def test_packages_that_are_there_are_judged_and_the_others_listed(project: Project) -> None:
    given = gathered(project, "given")
    project.remove("given/front-fp32.mlpackage")
    run = checked(project, f"--parity-artifacts={given}")
    assert run.green
    assert run.record is not None
    assert run.record.partial
    assert "tiny, not in given: front-fp32.mlpackage" in run.said
    assert {verdict.check.variant for verdict in run.verdicts.values()} == {"module", "fp16", "fp32", "ships", "glue"}
    assert not any("front-fp32" in id or "chain-fp32" in id for id in run.verdicts)

    project.edit(CONVERTED, FP16, f'{FP16}, published="Tiny.mlpackage"')
    project.path("given/front-fp16.mlpackage").rename(project.path("given/Tiny.mlpackage"))
    run = checked(project, f"--parity-artifacts={given}", "-k", "front-fp16")
    assert run.green
    assert len(run.verdicts) == 3

    project.write("nothing/README", "")
    found = project.run("pytest", "-m", "parity", "--artifacts", "nothing")
    assert found.code == 4
    assert "nothing has no artifact of any system: name a package <stage>-<variant>.mlpackage" in found.said


BACK = "tiny 9 (back 8, gates 1)"
HOOK = "def pytest_collection_modifyitems(items):\n    items[:] = [item for item in items if 'back' not in item.name]\n"


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "workers"])
def test_what_the_command_line_leaves_out_is_counted_and_named(workers: tuple[str, ...], project: Project) -> None:
    run = checked(project, "-k", "front or chain", *workers)
    assert run.green, run.said
    assert run.record is not None
    assert run.record.partial
    assert f"left out by the command line: 9 checks: {BACK}" in run.said


def in_the_settings(project: Project) -> None:
    project.edit(SETTINGS, 'addopts = "', "addopts = \"-k 'not back' ")


def in_a_hook(project: Project) -> None:
    project.write(HOOKS, HOOK)


@pytest.mark.parametrize(
    ("damage", "environment", "named"),
    [
        (in_the_settings, "", "-k 'not back' in addopts of pyproject.toml removed"),
        (None, "-k 'not back'", "-k 'not back' in PYTEST_ADDOPTS removed"),
        (None, f"--deselect {CONVERTED}::tiny-back", "tiny-back in PYTEST_ADDOPTS removed"),
        (None, f"--ignore {CONVERTED} -k front", f"--ignore {CONVERTED} in PYTEST_ADDOPTS removed"),
        (in_a_hook, "", "a hook, a plugin or a setting such as collect_ignore removed"),
    ],
)
def test_what_removes_checks_beside_the_command_line_fails_the_run(
    damage: Callable[[Project], None] | None, environment: str, named: str, project: Project
) -> None:
    if damage:
        damage(project)
    run = checked(project, PYTEST_ADDOPTS=environment)
    assert not run.green
    assert named in run.problems
    assert "tiny" in run.problems
    assert "back 8" in run.problems


def test_a_command_line_that_says_which_checks_to_run_has_the_last_word(project: Project) -> None:
    in_the_settings(project)
    run = checked(project, "-k", "front", PYTEST_ADDOPTS="-k back")
    assert run.green, run.said
    assert "left out by the command line: " in run.said


def test_collecting_alone_is_no_pass_unless_the_command_line_asks_for_it(project: Project) -> None:
    found = project.run("pytest", "-m", "parity", PYTEST_ADDOPTS="--collect-only")
    assert found.code == 4
    assert "--collect-only in PYTEST_ADDOPTS leaves out every check" in found.said
    assert project.run("pytest", "-m", "parity", "--collect-only").code == 0


def test_missing_truth_of_ones_own_checkpoint_is_said_once_before_anything_is_built(project: Project) -> None:
    (checkpoint,) = project.folder.glob(".parity/weights/*/*.pth")
    shutil.copy(checkpoint, project.path("my weights.pth"))
    project.edit(REFERENCES, "short=True", 'short=name == "hello"')
    built = artifacts(project)
    run = checked(project, "--weights", "my weights.pth")
    assert not run.green
    assert not run.verdicts
    assert artifacts(project) == built
    (said,) = (line for line in run.said.splitlines() if "no truth was ever recorded" in line)
    assert said.startswith("not judged: 13 checks: tiny 13: tiny, case hello: ")
    assert "the weights my weights.pth" in said
    mend = "python -m parity golden refresh tiny --weights 'my weights.pth' --cases hello"
    assert f'{mend} --reason "…", about ' in said
    assert len(run.said) < 4000

    calibrated = project.run("parity", "calibrate", "tiny", "--weights", "my weights.pth")
    assert calibrated.code == 2
    assert mend in calibrated.said
    assert artifacts(project) == built

    project.done("golden", "refresh", "tiny", "--weights", "my weights.pth", "--cases", "hello", "--reason", "mine")
    assert checked(project, "--weights", "my weights.pth").green


def test_weights_that_are_not_there_are_said_once(project: Project) -> None:
    run = checked(project, "--weights", "nowhere.pth")
    assert not run.green
    assert run.said.count("--weights nowhere.pth: no such file") == 1


def test_a_stage_without_a_gate_is_said_once_and_the_others_are_judged(project: Project) -> None:
    blocks = project.read(GATES).split("\n\n")
    project.write(GATES, "\n\n".join(block for block in blocks if not block.startswith("[front.fp16.hidden]")))
    project.edit(CONVERTED, "torch.tanh(self.conv(x))", "torch.tanh(1.0 * self.conv(x))")
    built = artifacts(project)
    run = checked(project, "-k", "not gates")
    assert not run.green
    assert len(run.verdicts) == 18
    assert all(verdict.passed for verdict in run.verdicts.values())
    told = "not judged: tiny: 1 output without a gate, such as front.fp16.hidden. Measure them: "
    assert run.said.startswith(f"{told}python -m parity calibrate tiny")
    assert len(artifacts(project) - built) == 2


def test_an_output_without_a_gate_is_one_line_with_the_command(project: Project) -> None:
    project.remove(GATES)
    said = project.run("pytest", "-q", "-m", "parity", "-k", "gates").said
    # The summary repeats the beginning of the message, and all of it where pytest sees that it runs in CI.
    assert said.partition("short test summary")[0].count("tiny: back.fp16.y has no gate") == 1
    assert "`parity calibrate tiny` measures what has no gate, and writes the gates" in said
    assert "assert" not in said


def test_a_stage_without_a_seam_is_said_once_before_anything_is_built(project: Project) -> None:
    project.edit(CONVERTED, '"back"', '"vocoder"')
    built = artifacts(project)
    run = checked(project, "-k", "not gates")
    assert not run.green
    told = "tiny: the reference tiny has no seam for vocoder; its seams are front, back. Mend: rename the stage"
    assert run.said.startswith(f"not judged: {told}")
    assert run.said.count("not judged: tiny") == 1
    assert {verdict.check.stage for verdict in run.verdicts.values()} == {"front"}
    calibrated = project.run("parity", "calibrate", "tiny")
    assert (calibrated.code, "has no seam for vocoder" in calibrated.said) == (2, True)
    assert artifacts(project) == built


def test_the_gates_of_a_renamed_variant_are_retired_or_renamed(project: Project) -> None:
    project.edit(CONVERTED, 'Variant("fp32"', 'Variant("exact"')
    said = project.run("pytest", "-q", "-m", "parity", "-k", "gates").said
    assert "front.fp32.hidden is gated but declared nowhere (rename its table, or take it out and name it under" in said
