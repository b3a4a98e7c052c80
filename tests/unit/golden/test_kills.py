"""A refresh killed anywhere leaves each case old, new or damaged by name, and the next refresh goes on with it."""

import os
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from parity.golden import lock
from parity.golden.errors import DamagedGolden
from parity.golden.refresh import Say, refresh
from parity.golden.status import status
from tests.support.golden_system import REFERENCE, World, quiet

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
MOVES = ("replace", "rename", "unlink", "rmdir", "mkdir")
OLD, NEW = 1.0, 1.5


def louder(world: World, only: Sequence[str] = (), say: Say = quiet) -> None:
    refresh(world.store(gain=NEW), [REFERENCE.case(name) for name in only], "a louder voice", say)


def dying(folder: Path, at: int, do: Callable[[], None]) -> None:
    """Dies by SIGKILL right before change number `at` that `do` makes to the names below a folder."""
    changes = 0

    def counting(original: Any) -> Any:
        def change(path: Any, *arguments: Any, **options: Any) -> Any:
            nonlocal changes
            if str(folder) in os.fspath(path) or "dir_fd" in options:
                changes += 1
                if changes == at:
                    os.kill(os.getpid(), signal.SIGKILL)
            return original(path, *arguments, **options)

        return change

    patch = pytest.MonkeyPatch()
    try:
        for name in MOVES:
            patch.setattr(os, name, counting(getattr(os, name)))
        do()
    finally:
        patch.undo()


def killed(folder: Path, at: int, do: Callable[[], None]) -> bool:
    """In a process of its own. False where the work was done before that change came."""
    child = os.fork()
    if not child:
        try:
            dying(folder, at, do)
            os._exit(0)
        finally:
            os._exit(1)
    _, result = os.waitpid(child, 0)
    if os.WIFSIGNALED(result):
        assert os.WTERMSIG(result) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(result) == 0, "the refresh failed by itself"
    return False


def every_kill(world: World, do: Callable[[World], None], at_least: int = 10) -> Iterator[World]:
    """The world after each possible kill of `do`, each time from the start."""
    for at in count(1):
        copy = World(world.folder.with_name(f"killed-{at}"))
        shutil.copytree(world.folder, copy.folder)
        if not killed(copy.own, at, partial(do, copy)):
            assert at > at_least, "hardly anything was changed: the kills missed the work"
            return
        yield copy
        shutil.rmtree(copy.folder)


def truths(world: World) -> set[float | str]:
    """What a reader finds, over all cases: the gain, by the peak of the audio, or that the file is damaged."""
    found: set[float | str] = set()
    for case in REFERENCE.cases:
        try:
            audio = world.store().load(case)["decoder"].outputs["audio"]
            found.add(OLD if abs(audio).max() < 0.6 * OLD else NEW)
        except DamagedGolden as damage:
            interrupted = "is not the file that the lock names.*a refresh was interrupted here.*golden refresh tiny"
            found.add("damaged" if re.search(f"{case.name}.safetensors: {interrupted}", str(damage)) else str(damage))
    return found


@pytest.fixture(scope="module", autouse=True)
def _no_disk() -> Iterator[None]:
    """A killed process loses nothing that it wrote; only a power cut would."""
    patch = pytest.MonkeyPatch()
    patch.setattr(os, "fsync", lambda descriptor: None)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, _no_disk: None) -> World:
    world = World(tmp_path_factory.mktemp("kills") / "world")
    refresh(world.store(gain=OLD), say=quiet)
    assert truths(world) == {OLD}
    return world


def test_a_killed_refresh_leaves_no_mixed_truth_and_the_next_goes_on(recorded: World) -> None:
    read, taken_over = set(), set()
    for killed in every_kill(recorded, louder):
        read.add(frozenset(truths(killed)))
        said: list[str] = []
        louder(killed, say=said.append)
        taken_over.add(sum("taken over" in line for line in said))
        assert truths(killed) == {NEW}
        assert status(killed.store()).fresh
        found = lock.read(killed.own / "lock.json")
        assert found
        assert [entry.reason for entry in found.history] == ["first recording", "a louder voice"]
        assert {path.name for path in (killed.own / ".refresh").iterdir()} == {"lock", ".gitignore"}
    assert read == {frozenset({OLD}), frozenset({OLD, "damaged"}), frozenset({"damaged"}), frozenset({NEW})}
    assert taken_over == {0, 1, 2}


def test_a_killed_refresh_of_one_case_leaves_the_other_alone(recorded: World) -> None:
    flight = (recorded.own / "flight.safetensors").read_bytes()
    for killed in every_kill(recorded, lambda world: louder(world, ["hello"]), at_least=6):
        assert status(killed.store()).cases[1].state == "fresh"
        assert (killed.own / "flight.safetensors").read_bytes() == flight


def test_a_killed_first_recording_leaves_nothing_or_everything(tmp_path: Path) -> None:
    empty = World(tmp_path / "empty")
    empty.own.mkdir(parents=True)

    def first(world: World) -> None:
        refresh(world.store(gain=OLD), say=quiet)

    for killed in every_kill(empty, first):
        states = {case.state for case in status(killed.store()).cases}
        assert states in ({"missing"}, {"fresh"})
        first(killed)
        assert truths(killed) == {OLD}
        assert status(killed.store()).fresh
