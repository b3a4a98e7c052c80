"""The two wheels, installed outside of this checkout: a project starts with them, and others don't notice them.

The packages that they depend on are those of this environment, which a path file shows to the new one: installing torch
again would take minutes.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.support.project import HERE, Project

SOURCES = ("pyproject.toml", "README.md", "LICENSE", "parity", "milrun")
EAR = """\
class Ear:
    name, about = "ear", "compares the samples"

    def embed(self, audio, rate):
        return audio[:800]
"""
HEAVY = ("coremltools", "numpy", "pydantic", "torch")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of both wheels, built from a copy: a build leaves files beside its sources."""
    folder = tmp_path_factory.mktemp("wheels")
    for name in SOURCES:
        if (HERE / name).is_dir():
            shutil.copytree(HERE / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(HERE / name, folder / name)
    shutil.rmtree(folder / "milrun" / "build", ignore_errors=True)
    pip(folder, "wheel", "--quiet", "--no-deps", "--wheel-dir", "dist", ".", "./milrun")
    return folder / "dist"


@pytest.fixture(scope="module")
def python(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment in which the wheels are installed."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    found = folder / "bin" / "python"
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip(folder, "--python", str(found), "install", "--quiet", "--no-deps", "--no-index", *map(str, wheels.iterdir()))
    return found


def pip(folder: Path, *arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "pip", *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="the layout of its environments differs")
def test_a_project_starts_with_the_wheels_and_passes(python: Path, tmp_path: Path) -> None:
    project = Project(tmp_path, python)
    project.git("init", "--quiet", "--initial-branch", "main")
    project.commit("a beginning")
    project.done("parity", "init", "--one-file")
    project.done("parity", "golden", "refresh", "hum", "--reason", "first recording")
    project.done("parity", "calibrate", "hum")
    project.write(".gitignore", ".parity/\n__pycache__/\n")
    project.commit("a port")
    said = project.done("pytest", "-m", "parity", "-p", "no:cacheprovider")
    assert "port.py ..." in said
    assert "PASSED: graph pass (milrun, declared)" in said
    assert "site-packages" not in said, "warnings of other packages are no business of the user's"
    said = project.done("parity", "gate", "--base", "HEAD~1")
    assert "gate PASSED" in said
    assert "bench passed  ✓ 6 " in project.done("pytest", "-m", "bench", "--quick", "-k", "speed")
    project.write("ear.py", EAR)
    assert "speech passed  ✓ 4" in project.done("pytest", "-m", "speech", "--speaker", "ear:Ear")
    script = python.with_name("parity")
    assert "refresh" in subprocess.run([script, "golden", "--help"], capture_output=True, text=True, check=True).stdout


def test_a_project_without_systems_notices_nothing(python: Path, tmp_path: Path) -> None:
    project = Project(tmp_path, python)
    imported = f"import sys\n\n\ndef test_mine():\n    assert not set({HEAVY!r}) & set(sys.modules)\n"
    project.write("test_mine.py", imported)
    project.write(
        "pyproject.toml",
        '[tool.pytest.ini_options]\naddopts = "--strict-markers -p no:cacheprovider -p no:benchmark"\n',
    )
    before = sorted(tmp_path.iterdir())
    said = project.done("pytest", "-q")
    assert "1 passed" in said
    refused = project.run("pytest", "-q", "--runtime", "milrun")
    assert "unrecognized arguments: --runtime" in refused.said
    assert sorted(tmp_path.iterdir()) == before
