"""A run of the suite that is killed loses nothing recorded and leaves nothing behind; several at once agree."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from parity.record import run as session
from parity.record.run import RunRecord
from tests.support.project import HOOKS, Project
from tests.support.runs import Run, artifacts, checked, records

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")

DYING = """

import os, re, signal


def dying(change):
    def changed(old, new, *arguments, **options):
        if re.search(os.environ["DIE_BEFORE"], str(new)):
            os.kill(os.getpid(), signal.SIGKILL)
        return change(old, new, *arguments, **options)

    return changed


if "DIE_BEFORE" in os.environ:
    os.replace, os.rename = dying(os.replace), dying(os.rename)
"""
"""Dies right before the first file or folder whose path is like that comes into place under its own name."""

MOMENTS = {
    "evidence": r"/\.parity/evidence/",
    "first verdict": r"/verdicts/.*\.json$",
    "a later verdict": r"/verdicts/tiny-chain-.*\.json$",
    "page": r"/report\.html$",
    "summary": r"/report\.md$",
    "record": r"/run\.json$",
}


@pytest.fixture
def empty(project: Project) -> Project:
    """The project as a fresh clone has it: with goldens and gates, and nothing built."""
    project.write(HOOKS, DYING)
    project.remove(".parity")
    return project


def outcome(record: RunRecord | None) -> dict[str, object]:
    """What a run found, without when and how fast."""
    assert record
    verdicts = [replace(verdict, seconds=0.0, reused=False) for verdict in record.verdicts]
    return {verdict.id: repr(verdict) for verdict in verdicts} | {"problems": record.problems()}


def recorded(project: Project) -> dict[str, bytes]:
    """What git has of the goldens, by file."""
    names = project.git("ls-files", "golden").splitlines()
    return {name: project.path(name).read_bytes() for name in names}


def litter(project: Project) -> list[str]:
    """Whatever has no place in a project at rest."""
    untracked = project.git("status", "--porcelain", "--untracked-files", "golden", "tests", "converters").splitlines()
    temporary = [str(path) for path in project.path(".parity").rglob("*.tmp")]
    unfinished = [str(path) for path in project.folder.glob(".parity/tmp/*")]
    runs = [str(path) for path in project.folder.glob(".parity/runs/*") if not (path / session.RECORD).exists()]
    locks = [str(path) for path in project.folder.glob(".parity/locks/run.*")]
    return [*untracked, *temporary, *unfinished, *runs, *locks]


def left_clean(project: Project, before: dict[str, bytes], clean: dict[str, object]) -> None:
    """The run after the killed one."""
    run = checked(project)
    assert run.green
    assert outcome(run.record) == clean
    assert recorded(project) == before
    assert not litter(project)
    assert len(artifacts(project)) == 4


@pytest.fixture(scope="module")
def clean(green_project: Project, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What a run that nobody kills finds."""
    project = green_project.copy(tmp_path_factory.mktemp("clean") / "project")
    run = checked(project)
    assert run.green
    return outcome(run.record)


@pytest.mark.parametrize("moment", MOMENTS.values(), ids=list(MOMENTS))
def test_a_killed_run_is_no_run_and_the_next_starts_clean(
    moment: str, empty: Project, clean: dict[str, object]
) -> None:
    before = recorded(empty)
    killed = empty.run("pytest", "-q", "-m", "parity", DIE_BEFORE=moment)
    assert killed.code in (-signal.SIGKILL, 128 + signal.SIGKILL), killed.said
    assert not records(empty)
    assert recorded(empty) == before
    left_clean(empty, before, clean)


@pytest.mark.parametrize("tree", [False, True], ids=["alone", "with the processes that build for it"])
def test_a_run_killed_while_it_builds_leaves_no_half_of_an_artifact(
    tree: bool, empty: Project, clean: dict[str, object]
) -> None:
    before = recorded(empty)
    own = Project(empty.folder, Path(sys.executable)) if not tree else empty
    process = own.start("pytest", "-q", "-m", "parity")
    moment = until(process, empty, ".parity/tmp/artifact.*/model.mlpackage")
    process.kill()
    process.communicate()
    assert moment, "it was done before the moment came"
    assert not records(empty)
    left_clean(empty, before, clean)


def until(process: subprocess.Popen[str], project: Project, pattern: str) -> bool:
    while process.poll() is None:
        if any(project.folder.glob(pattern)):
            return True
        time.sleep(0.001)
    return False


def test_killed_again_and_again_it_still_gets_there(empty: Project, clean: dict[str, object]) -> None:
    before = recorded(empty)
    for moment in MOMENTS.values():
        assert empty.run("pytest", "-q", "-m", "parity", DIE_BEFORE=moment).code
        assert not records(empty)
    left_clean(empty, before, clean)


def test_a_run_that_is_under_way_is_not_taken_for_a_killed_one(empty: Project) -> None:
    process = empty.start("pytest", "-q", "-m", "parity")
    assert until(process, empty, ".parity/runs/*/verdicts/*.json")
    assert not empty.run("pytest", "-q", "-m", "parity", "--collect-only").code
    said, _ = process.communicate()
    assert process.returncode == 0, said
    assert len(records(empty)) == 1


def test_two_workers_find_what_one_finds(empty: Project, clean: dict[str, object]) -> None:
    """Workers are started by what starts no fork of the warm Python."""
    run = checked(Project(empty.folder, Path(sys.executable)), "-n", "2")
    assert run.green
    assert outcome(run.record) == clean
    assert run.record
    assert not run.record.partial
    assert not litter(empty)


def test_two_runs_at_once_both_succeed_and_build_each_artifact_once(empty: Project, clean: dict[str, object]) -> None:
    both = [empty.start("pytest", "-q", "-m", "parity") for _ in range(2)]
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    found = [session.load(path) for path in records(empty)]
    assert len(found) == 2
    assert [outcome(record) for record in found] == [clean, clean]
    assert not litter(empty)
    assert len(artifacts(empty)) == 4
    assert not list(empty.folder.glob(".parity/damaged/*"))


def test_a_state_folder_that_takes_no_files_is_told_with_the_mend(empty: Project) -> None:
    empty.write(".parity", "")
    run = empty.run("pytest", "-q", "-m", "parity")
    assert run.code == 4
    assert "can't be written: Not a directory. Make it a folder" in run.said
    assert "INTERNALERROR" not in run.said
    empty.remove(".parity")


def test_the_helpers_see_litter(empty: Project) -> None:
    """Else all of the above would prove nothing."""
    assert not litter(empty)
    for name in ("golden/tiny/.gates.toml.1.tmp", ".parity/tmp/artifact.1", ".parity/runs/1/verdicts/x.json"):
        empty.write(name, "")
        assert litter(empty), name
        empty.remove(name)
    assert isinstance(checked(empty, "-k", "front-fp32-hello"), Run)
