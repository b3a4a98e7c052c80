"""Fixtures: a whole small project, see `tests.support.project`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support import fork_server
from tests.support.project import Project

# By default hypothesis fails an example that takes 0.2 s, which on a busy machine says nothing of the code.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def warm_python() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="warm-") as folder, fork_server.python(Path(folder)) as python:
        yield python


@pytest.fixture(scope="session")
def green_project(warm_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """To be copied, never changed."""
    return Project.green(tmp_path_factory.mktemp("green") / "project", warm_python)


@pytest.fixture
def project(green_project: Project, tmp_path: Path) -> Project:
    """One that passes, on main, with nothing changed."""
    return green_project.copy(tmp_path / "project")
