"""A small repository."""

from pathlib import Path

import pytest

from tests.support.project import Project


@pytest.fixture
def repository(tmp_path: Path) -> Project:
    """Two commits on main, of which the second is checked out."""
    project = Project(tmp_path / "repository")
    project.write("golden/tiny/gates.toml", "old")
    project.git("init", "--quiet", "--initial-branch", "main")
    project.commit("first")
    project.write("golden/tiny/gates.toml", "new ≤ 1")
    project.commit("second")
    return project
