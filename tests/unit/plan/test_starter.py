"""A first system for a project: which files it is, and that nothing is half written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from parity.plan import starter
from tests.support.project import HERE


def test_the_example_is_imported_though_packages_of_its_names_are_installed(tmp_path: Path) -> None:
    project, installed = tmp_path / "project", tmp_path / "installed"
    for name in ("references", "converters"):
        (installed / name).mkdir(parents=True)
        (installed / name / "__init__.py").touch()
    project.mkdir()
    assert starter.write(project) == [
        "converters/__init__.py",
        "references/__init__.py",
        "references/hum.py",
        "converters/hum.py",
        "pyproject.toml",
    ]
    code = f"import sys; sys.path[:0] = [{str(project)!r}, {str(installed)!r}, {str(HERE)!r}]\n"
    code += "import importlib.util as util; print(util.find_spec('references.hum').origin)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert found.stdout.strip() == str(project / "references/hum.py")


def test_an_init_file_that_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "references").mkdir()
    (tmp_path / "references/__init__.py").write_text("MINE = 1\n")
    assert "references/__init__.py" not in starter.write(tmp_path)
    assert (tmp_path / "references/__init__.py").read_text() == "MINE = 1\n"


@pytest.mark.parametrize("name", ["references", "converters", "converters/hum.py"])
def test_where_a_file_is_in_the_way_nothing_is_written(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=f"{name} exists already; nothing was written. Move it"):
        starter.write(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "pyproject.toml").read_text() == "[project]\n"
