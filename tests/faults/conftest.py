"""Fixtures: a whole small project, see `tests.harness.project`."""

from tests.harness.conftest import green_project, project, warm_python

__all__ = ["green_project", "project", "warm_python"]
