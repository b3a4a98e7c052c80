"""A system that is built for ExecuTorch beside Core ML, judged by one set of gates in one run."""

from __future__ import annotations

import shutil

import pytest

from parity.base.libraries import installed
from tests.support.project import CONVERTED, GATES, Project
from tests.support.runs import checked

NEEDS = pytest.mark.skipif(not installed("executorch"), reason="executorch is not installed: make extra-executorch")
BEFORE = 'Variant("fp16", "float16", ships=True))'
AFTER = 'Variant("fp16", "float16", ships=True), Variant("pte-fp32", "float32", format="pte"))'


@NEEDS
def test_two_runtimes_are_judged_in_one_run_and_each_verdict_says_which(project: Project) -> None:
    project.edit(CONVERTED, BEFORE, AFTER)
    project.edit(CONVERTED, "(FRONT, BACK), chain)", '(FRONT, BACK), chain, contract={"top_k": 50})')
    project.done("parity", "calibrate", "tiny")
    assert "[back.pte-fp32.y]" in project.read(GATES)
    assert '[chain.pte-fp32."back.y"]' in project.read(GATES)
    run = checked(project)
    assert run.green
    assert "graph pass (milrun, declared), program pass (ExecuTorch)" in run.said
    (program,) = project.folder.glob(".parity/artifact/*/model.pte")
    (project.folder / "theirs").mkdir()
    shutil.copy(program, project.folder / "theirs/pte-fp32.pte")
    project.edit(CONVERTED, '"top_k": 50', '"top_k": 40')
    stale = checked(project, "--artifacts", "theirs", "--runtime", "executorch")
    assert not stale.green
    assert "`top_k` is 50, the host uses 40" in stale.said
    assert "another package than declared" in stale.said


@NEEDS
def test_a_program_is_timed_beside_eager_as_what_ships_on_its_runtime(project: Project) -> None:
    project.edit(CONVERTED, BEFORE, AFTER)
    project.done("parity", "calibrate", "tiny")
    timed = project.run("pytest", "-m", "bench", "--quick", "--runtime", "executorch")
    assert "[program.pte-fp32]" in timed.said, "its budgets are missing, and suggested"
    suggested = [line for line in timed.said.splitlines() if line.startswith("size_mb = ")]
    project.write("golden/tiny/budgets.toml", "\n".join(["[program.pte-fp32]", *suggested]))
    timed = project.run("pytest", "-m", "bench", "--quick", "--runtime", "executorch", "-k", "size or speed")
    assert timed.code == 0, timed.said
    assert "7 passed" in timed.said
    assert "× eager" in timed.said


def test_what_cannot_run_here_is_said_with_the_mend(project: Project) -> None:
    project.edit(CONVERTED, BEFORE, AFTER.replace('format="pte"', 'format="pte", unchained="no bound judges it"'))
    run = checked(project, "--runtime", "milrun")
    assert "programs of tiny: " in run.said
    assert "tiny, the chain of pte-fp32: no bound judges it" in run.said
    assert run.green is False, "its gates for the .pte are missing"
