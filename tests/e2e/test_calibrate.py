"""Which run bounds are taken from."""

from __future__ import annotations

from tests.support.project import GATES, Project
from tests.support.runs import checked


def test_bounds_come_of_a_run_that_judged_all_of_the_system(project: Project) -> None:
    before = project.read(GATES)
    assert checked(project, "-k", "front").green
    found = project.run("parity", "calibrate", "tiny")
    assert found.code == 2
    assert "the last run has no verdict on 10 checks of tiny" in found.said
    assert "run `pytest -m parity -k tiny`" in found.said
    assert project.read(GATES) == before


def test_what_else_a_run_left_out_is_no_matter(project: Project) -> None:
    project.write("converters/other.py", OTHER)
    run = checked(project, "-k", "tiny")
    assert run.record is not None
    assert run.record.partial
    assert project.run("parity", "calibrate", "tiny").code == 0
    found = project.run("parity", "calibrate", "other")
    assert found.code == 2
    assert "no verdict on" in found.said


OTHER = """
from dataclasses import replace
from converters.tiny import SYSTEM as TINY

SYSTEM = replace(TINY, title="other")
"""
