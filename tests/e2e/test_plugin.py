"""What the plugin collects, by mark, by path and by option, in a small project."""

from __future__ import annotations

from tests.support.project import CONVERTED, GATES, REFERENCE, SETTINGS, SYSTEM, Project
from tests.support.runs import checked, gathered

OWN = "def test_mine():\n    pass\n"
FP16 = 'Variant("fp16", "float16", ships=True'


def test_the_mark_alone_collects_checks_alone_and_a_plain_run_everything(project: Project) -> None:
    project.write("tests/test_mine.py", OWN)
    project.write("tests/test_broken.py", "raise RuntimeError('nobody collects this')\n")
    assert checked(project).green
    project.remove("tests/test_broken.py")
    run = checked(project, mark="")
    assert run.green
    assert "18 passed" in run.said
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
    assert {verdict.check.variant for verdict in run.verdicts.values()} == {"module", "fp16", "fp32", "ships"}
    assert not any("front-fp32" in id or "chain-fp32" in id for id in run.verdicts)

    project.edit(CONVERTED, FP16, f'{FP16}, published="Tiny.mlpackage"')
    project.path("given/front-fp16.mlpackage").rename(project.path("given/Tiny.mlpackage"))
    run = checked(project, f"--parity-artifacts={given}", "-k", "front-fp16")
    assert run.green
    assert len(run.verdicts) == 2

    project.write("nothing/README", "")
    found = project.run("pytest", "-m", "parity", "--artifacts", "nothing")
    assert found.code == 4
    assert "nothing has no artifact of any system: name a package <stage>-<variant>.mlpackage" in found.said


def test_an_output_without_a_gate_is_one_line_with_the_command(project: Project) -> None:
    project.remove(GATES)
    said = project.run("pytest", "-q", "-m", "parity", "-k", "gates").said
    # The summary repeats the beginning of the message, and all of it where pytest sees that it runs in CI.
    assert said.partition("short test summary")[0].count("tiny: back.fp16.y has no gate") == 1
    assert "`parity calibrate tiny` measures what has no gate, and writes the gates" in said
    assert "assert" not in said
