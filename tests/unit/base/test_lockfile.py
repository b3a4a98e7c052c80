"""requirements.lock: what plain pip reads of it, what an extra installs, and what writing it keeps apart."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from parity.base import lockfile

LOCK = 'attrs==26.1.0\nhydra-core==1.3.2; extra == "heavy"\nml_dtypes==0.6.0; extra == "heavy"\nPyYAML==6.0.3\n'


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "requirements.lock"
    path.write_text(LOCK)
    return path


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What pip is asked; of packages, it says what is installed here."""
    asked: list[list[str]] = []

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        asked.append(command[3:])
        frozen = "attrs==26.1.0\nML-dtypes==0.7.0\nnew.one==1.0\ntorch==2.13.0+cpu\n"
        return subprocess.CompletedProcess(command, 0, frozen if "freeze" in command else None)

    monkeypatch.setattr(subprocess, "run", run)
    return asked


def test_the_lock_of_this_project_can_be_read_and_is_in_order() -> None:
    text = lockfile.LOCK.read_text()
    pins = lockfile.parse(text)
    assert {pin.extra for pin in pins.values()} == {"", "sortformer"}
    assert "torch" in pins
    assert pins["nemo-toolkit"].extra == "sortformer"
    assert lockfile.merged(pins.values(), [pin for pin in pins.values() if not pin.extra]) == text


def test_plain_pip_passes_over_an_extra(tmp_path: Path) -> None:
    (tmp_path / "requirements.lock").write_text('no-such-library==1.0; extra == "heavy"\n')
    command = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "-r", "requirements.lock"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Ignoring no-such-library" in done.stdout


def test_an_extra_is_installed_as_it_is_pinned_and_brings_nothing_with_it(lock: Path, pip: list[list[str]]) -> None:
    assert lockfile.main(["install", "heavy"], lock) == 0
    assert pip == [["install", "--quiet", "--no-deps", "hydra-core==1.3.2", "ml_dtypes==0.6.0"]]


def test_an_unknown_extra_is_told_with_the_known(
    lock: Path, pip: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        lockfile.main(["install", "hevay"], lock)
    assert "has no extra 'hevay'; it has heavy" in capsys.readouterr().err
    assert pip == []


def test_writing_keeps_the_extras_lines_whether_they_are_installed_or_not(lock: Path, pip: list[list[str]]) -> None:
    assert lockfile.main(["write"], lock) == 0
    assert lock.read_text().splitlines() == [
        "attrs==26.1.0",
        'hydra-core==1.3.2; extra == "heavy"',
        'ML-dtypes==0.7.0; extra == "heavy"',
        "new.one==1.0",
        "torch==2.13.0",
    ]


def test_what_the_extra_pins_is_told_for_any_spelling_and_nothing_else(
    lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lockfile, "LOCK", lock)
    assert lockfile.of_an_extra("ML.Dtypes") == "0.6.0"
    assert lockfile.of_an_extra("attrs") is None
    assert lockfile.of_an_extra("no-such-library") is None
    monkeypatch.setattr(lockfile, "LOCK", lock.with_name("nowhere"))
    assert lockfile.of_an_extra("ml_dtypes") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("numpy>=2\n", "'numpy>=2' is no pin"),
        ("numpy @ file:///tmp/numpy\n", "is no pin"),
        ("numpy==2.0; python_version < '3.12'\n", "is no pin"),
        ("\n", "'' is no pin"),
        ('numpy==2.0\nNumPy==2.1; extra == "heavy"\n', "NumPy is pinned twice"),
    ],
)
def test_another_kind_of_line_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        lockfile.parse(text)
