"""The revision to compare with: the one that the change left, as git has it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from parity.gate import git
from parity.gate.git import RevisionError
from tests.support.project import Project


def test_the_base_is_where_the_change_left_it_and_not_what_came_after(repository: Project) -> None:
    left = repository.git("rev-parse", "HEAD")
    repository.git("checkout", "--quiet", "-b", "change")
    repository.commit("mine")
    repository.git("checkout", "--quiet", "main")
    repository.commit("another's")
    repository.git("checkout", "--quiet", "change")
    assert git.base(repository.folder, "main") == git.Revision("main", left)


def test_changed_are_files_that_were_committed_edited_deleted_and_not_yet_known(repository: Project) -> None:
    first = repository.git("rev-parse", "HEAD~1")
    repository.write("staged.py", "")
    repository.git("add", "staged.py")
    repository.write("ein größeres modul.py", "")
    assert git.changed_files(repository.folder, first) == [
        "ein größeres modul.py",
        "golden/tiny/gates.toml",
        "staged.py",
    ]
    repository.remove("golden")
    assert "golden/tiny/gates.toml" in git.changed_files(repository.folder, repository.git("rev-parse", "HEAD"))


def test_files_are_read_as_the_commit_has_them(repository: Project) -> None:
    head = git.head(repository.folder)
    assert git.files(repository.folder, head, "golden") == ["golden/tiny/gates.toml"]
    assert git.files(repository.folder, head, "parity") == []
    assert git.text(repository.folder, head, "golden/tiny/gates.toml") == "new ≤ 1"


@pytest.mark.skipif(sys.platform != "linux", reason="file systems of other platforms refuse the name")
def test_a_file_whose_name_is_not_utf_8_is_one_that_changed(repository: Project) -> None:
    name = os.fsdecode(b"caf\xe9.txt")
    repository.write(name, "")
    assert git.changed_files(repository.folder, git.head(repository.folder)) == [name]


def test_a_file_of_the_base_that_is_not_utf_8_is_named(repository: Project) -> None:
    repository.path("golden/tiny/gates.toml").write_bytes(b"# caf\xe9")
    head = repository.commit()
    with pytest.raises(ValueError, match=f"{head[:12]}:golden/tiny/gates.toml is not UTF-8 text"):
        git.text(repository.folder, head, "golden/tiny/gates.toml")


def test_a_project_may_be_a_folder_of_a_larger_repository(repository: Project) -> None:
    folder = repository.folder / "models/tiny"
    repository.write("models/tiny/golden/tiny/gates.toml", "≤ 1")
    head = repository.commit()
    repository.write("models/tiny/golden/tiny/gates.toml", "≤ 2")
    repository.write("models/tiny/port.py", "")
    repository.write("elsewhere.py", "")
    assert git.base(folder, "HEAD").commit == head
    assert git.changed_files(folder, head) == ["golden/tiny/gates.toml", "port.py"]
    assert git.files(folder, head, "golden") == ["golden/tiny/gates.toml"]
    assert git.text(folder, head, "golden/tiny/gates.toml") == "≤ 1"


def test_a_hook_does_not_lead_astray(repository: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    assert git.base(repository.folder, "main").commit
    assert not (tmp_path / "index").exists()


def test_what_can_not_be_compared_with_says_why_and_what_to_do(
    repository: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RevisionError, match=r"origin/main: there is no such revision.*git fetch"):
        git.base(repository.folder, "origin/main")
    with pytest.raises(RevisionError, match="no such revision"):
        git.base(repository.folder, "--exec=ls")
    with pytest.raises(RevisionError, match="not in a git repository"):
        git.base(tmp_path, "main")
    repository.git("checkout", "--quiet", "--orphan", "elsewhere")
    repository.commit("unrelated")
    with pytest.raises(RevisionError, match=r"no common history.*git fetch --unshallow"):
        git.base(repository.folder, "main")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RevisionError, match="git is not installed"):
        git.base(repository.folder, "main")


def test_a_repository_without_a_commit_is_no_base(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    with pytest.raises(RevisionError, match="no such revision"):
        git.base(tmp_path, "HEAD")
