"""Killed anywhere, a refresh leaves the old truth or the new, whole; the next run finishes it and nothing is lost."""

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from parity.golden import lock
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


def gains(world: World) -> set[float]:
    """Which truth a reader finds, over all cases: the audio's peak is half the gain."""
    store = world.store()
    found = set()
    for case in REFERENCE.cases:
        golden = store.load(case)
        peak = abs(golden["decoder"].outputs["audio"]).max()
        found.add(OLD if peak < 0.6 * OLD else NEW)
    return found


@dataclass(frozen=True)
class Aftermath:
    """Of one kill. What a reader found; and, where nobody read, what the next refresh said and left."""

    read: set[float]
    finished: set[float]
    said: list[str]
    reasons: list[str]
    left: list[str]
    fresh: bool


def aftermath(killed: World) -> Aftermath:
    unread = World(killed.folder.with_name(f"{killed.folder.name}-unread"))
    shutil.copytree(killed.folder, unread.folder)
    found = gains(killed)
    said: list[str] = []
    louder(unread, say=said.append)
    recorded = lock.read(unread.own / "lock.json")
    assert recorded
    reasons = [entry.reason for entry in recorded.history]
    left = [path.name for path in (unread.own / ".refresh").iterdir()]
    return Aftermath(found, gains(unread), said, reasons, left, status(unread.store()).fresh)


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
    assert gains(world) == {OLD}
    return world


@pytest.fixture
def world(recorded: World, tmp_path: Path) -> World:
    """A copy of the recorded one."""
    shutil.copytree(recorded.folder, tmp_path / "world")
    return World(tmp_path / "world")


@pytest.fixture(scope="module")
def outcomes(recorded: World) -> list[Aftermath]:
    return [aftermath(after) for after in every_kill(recorded, louder)]


def test_a_reader_finds_the_old_truth_or_the_new_one_and_never_some_of_both(outcomes: list[Aftermath]) -> None:
    assert {frozenset(outcome.read) for outcome in outcomes} == {frozenset({OLD}), frozenset({NEW})}


def test_the_next_refresh_finishes_what_was_begun(outcomes: list[Aftermath]) -> None:
    for outcome in outcomes:
        assert outcome.finished == {NEW}
        assert outcome.fresh
        assert outcome.reasons == ["first recording", "a louder voice"]
        assert outcome.left == ["lock"]


def test_cases_that_a_killed_refresh_had_recorded_are_not_recorded_again(outcomes: list[Aftermath]) -> None:
    assert {sum("taken over" in line for line in outcome.said) for outcome in outcomes} == {0, 1, 2}


def test_a_killed_refresh_of_one_case_leaves_the_other_alone(world: World) -> None:
    flight = (world.own / "flight.safetensors").read_bytes()
    for after in every_kill(world, lambda world: louder(world, ["hello"])):
        assert status(after.store()).fresh
        assert (after.own / "flight.safetensors").read_bytes() == flight


def test_a_kill_during_the_recovery_is_recovered_from(world: World) -> None:
    decided = World(world.folder.with_name("decided"))
    for after in every_kill(world, louder):
        if (after.own / ".refresh" / "decided").is_dir():
            shutil.copytree(after.folder, decided.folder)
            break

    def read(world: World) -> None:
        world.store().read_lock()

    for after in every_kill(decided, read, at_least=5):
        assert gains(after) == {NEW}


def test_a_killed_first_recording_leaves_nothing_or_everything(tmp_path: Path) -> None:
    empty = World(tmp_path / "empty")
    empty.own.mkdir(parents=True)

    def first(world: World) -> None:
        refresh(world.store(gain=OLD), say=quiet)

    for after in every_kill(empty, first):
        states = {case.state for case in status(after.store()).cases}
        assert states in ({"missing"}, {"fresh"})
        first(after)
        assert gains(after) == {OLD}
