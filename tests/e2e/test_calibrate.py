"""Calibration measures what is missing itself, and refuses to make bounds of what can't be measured."""

from __future__ import annotations

from tests.support.project import CONVERTED, GATES, Project
from tests.support.runs import checked


def test_a_system_without_gates_is_measured_and_then_passes(project: Project) -> None:
    before = project.read(GATES)
    project.remove(GATES)
    project.remove(".parity")
    said = project.done("parity", "calibrate", "tiny")
    assert "measuring" in said
    assert project.read(GATES) == before
    assert checked(project).green


def test_only_the_named_stages_are_measured(project: Project) -> None:
    project.remove(GATES)
    project.done("parity", "calibrate", "tiny", "--stages", "front")
    assert "[front.fp16.hidden]" in project.read(GATES)
    assert "[back." not in project.read(GATES)
    run = checked(project)
    assert not run.green
    assert "tiny: back.fp16.y has no gate" in run.said
    assert "`parity calibrate tiny` measures what has no gate" in run.said
    found = project.run("parity", "calibrate", "tiny", "--stages", "frnt")
    assert found.code == 2
    assert "its stages are front, back, chain" in found.said


def test_what_breaks_its_contract_is_mended_before_it_is_bounded(project: Project) -> None:
    before = project.read(GATES)
    project.edit(CONVERTED, "return torch.tanh(self.conv(x))", "return 0.0 * self.conv(x)")
    found = project.run("parity", "calibrate", "tiny")
    assert found.code == 2
    assert "these can't be measured; mend them first" in found.said
    assert "tiny-front-fp16-hello-forced-milrun-declared: hidden: " in found.said
    assert project.read(GATES) == before


def test_another_system_is_no_matter(project: Project) -> None:
    project.write("converters/other.py", OTHER)
    assert project.run("parity", "calibrate", "tiny").code == 0
    found = project.run("parity", "calibrate", "nobody")
    assert found.code == 2
    assert "the project declares other, tiny" in found.said


OTHER = """
from dataclasses import replace
from converters.tiny import SYSTEM as TINY

SYSTEM = replace(TINY, title="other")
"""
