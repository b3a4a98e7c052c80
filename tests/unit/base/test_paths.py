"""What `[tool.parity]` may say, and what it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from parity.base.paths import Project, ProjectError, read


def configured(root: Path, *lines: str) -> Path:
    (root / "pyproject.toml").write_text("\n".join(["[tool.parity]", *lines, ""]))
    return root


@pytest.mark.parametrize(
    ("lines", "held"),
    [
        (['state = "."'], "the project"),
        (['state = "golden"'], "golden"),
        (['state = "converters"'], "converters"),
        (['state = "./build"', 'golden = "build/golden"'], "build/golden"),
        (['state = "src"', 'systems = ["src/ports/tiny.py"]'], "src/ports/tiny.py"),
        (['state = "link"'], "the project"),
    ],
)
def test_a_state_folder_holds_nothing_but_state(tmp_path: Path, lines: list[str], held: str) -> None:
    (tmp_path / "link").symlink_to(".")
    with pytest.raises(
        ProjectError, match=rf"pyproject\.toml: .*state = .* is or holds {held}, .*state = \"\.parity\""
    ):
        read(configured(tmp_path, *lines))


@pytest.mark.parametrize("state", [".parity", "build", "build/parity", "golden-state"])
def test_other_folders_may_be_that_of_the_state(tmp_path: Path, state: str) -> None:
    found = read(configured(tmp_path, f'state = "{state}"'))
    assert found is not None
    assert found.state_folder == tmp_path / state


def test_a_project_may_leave_every_setting_as_it_is(tmp_path: Path) -> None:
    assert read(configured(tmp_path)) == Project(tmp_path)


@pytest.mark.parametrize("entry", ["../out/port.py", "/out/port.py"])
def test_a_system_lies_in_the_project(tmp_path: Path, entry: str) -> None:
    with pytest.raises(ProjectError, match=rf"\[tool\.parity\.systems\.0\] is '{entry}', which lies outside"):
        read(configured(tmp_path, f'systems = ["{entry}"]'))


def test_a_configuration_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_bytes(b"[tool.parity]\n# caf\xe9\n")
    with pytest.raises(ProjectError, match=r"pyproject\.toml is not UTF-8 text: .* Save it as UTF-8"):
        read(tmp_path)
