"""Processes that use one cache, for tests that kill and race them: `python -m tests.support.cache_builders`."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from parity.base.cache import Cache

KEY = "ab" * 32
CONTENT = {"weights.bin": b"0123456789" * 1000, "inner/spec.txt": b"the spec", "note.txt": b"a note"}
_EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.utime", "os.scandir", "os.listdir"}


def fill(folder: Path) -> None:
    """Opens each file while the one before it is half written, so that a kill at an opening is one amid a file."""
    (folder / "inner").mkdir()
    previous: Any = None
    for name, content in CONTENT.items():
        file = (folder / name).open("wb")
        file.write(content[: len(content) // 2])
        file.flush()
        if previous:
            previous[0].write(previous[1])
            previous[0].close()
        previous = file, content[len(content) // 2 :]
    previous[0].write(previous[1])
    previous[0].close()


def is_sound(folder: Path) -> bool:
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    files.pop("manifest.json")
    return {name: path.read_bytes() for name, path in files.items()} == CONTENT


def killed_at_each_moment(root: Path, prepare: Callable[[Path], None]) -> None:
    """A build in a child that dies before its first, its second, its third, … act on a file, until one lives."""
    moment = 0
    while True:
        prepare(root)
        if not (child := os.fork()):
            warnings.simplefilter("ignore")
            _die_at(moment, str(root))
            Cache(root).get("artifact", KEY, fill)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        assert status == 0 or os.WTERMSIG(status) == signal.SIGKILL, f"moment {moment}: status {status}"
        _check_that_nothing_half_made_is_left(root, moment)
        shutil.rmtree(root)
        if status == 0:
            break
        moment += 1
    print(moment)


def _check_that_nothing_half_made_is_left(root: Path, moment: int) -> None:
    cache = Cache(root)
    with warnings.catch_warnings(record=True):
        found = cache.find("artifact", KEY)
        assert found is None or is_sound(found), f"moment {moment}: {found} is damaged"
        assert is_sound(cache.get("artifact", KEY, fill)), f"moment {moment}: built again, it is damaged"
    assert not list((root / "tmp").glob("*")), f"moment {moment}: {list((root / 'tmp').iterdir())}"


def _die_at(moment: int, root: str) -> None:
    count = 0

    def count_down(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event in _EVENTS and any(root in str(argument) for argument in arguments):
            count += 1
            if count > moment:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count_down)


def nothing(root: Path) -> None:
    """The cache is empty."""


def damaged(root: Path) -> None:
    """The entry is there and one of its files was cut."""
    folder = Cache(root).get("artifact", KEY, fill)
    (folder / "note.txt").write_bytes(b"a")


def abandoned(root: Path) -> None:
    """A build was killed before."""
    (root / "tmp" / f"artifact.{KEY}.0123abcd" / "inner").mkdir(parents=True)
    (root / "tmp" / f"artifact.{KEY}.0123abcd" / "inner" / "spec.txt").write_bytes(b"the")


def race(root: Path, name: str, runners: int) -> None:
    """Wants the entry; whoever makes it waits until all have said that they want it."""

    def make(folder: Path) -> None:
        with (root / "made").open("a") as file:
            file.write(f"{name}\n")
        wait_for(lambda: len(list(root.glob("ready.*"))) == runners)
        fill(folder)

    (root / f"ready.{name}").touch()
    print(Cache(root / "cache").get("artifact", KEY, make))


def hang(root: Path) -> None:
    """Begins to make the entry and never ends."""

    def make(folder: Path) -> None:
        (folder / "half.bin").write_bytes(b"half")
        (root / "hanging").touch()
        signal.pause()

    Cache(root / "cache").get("artifact", KEY, make)


def use(root: Path, key: str) -> None:
    """Makes an entry, says so, and uses it until it is killed."""
    Cache(root / "cache").get("artifact", key, fill)
    (root / "using").touch()
    signal.pause()


def add(root: Path, keys: list[str]) -> None:
    """Makes entries, one after the other, and ends."""
    for key in keys:
        Cache(root / "cache").get("artifact", key, fill)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("what another process should have done has not happened in a minute")
        time.sleep(0.01)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["killed", root, state]:
            killed_at_each_moment(Path(root), {"empty": nothing, "damaged": damaged, "abandoned": abandoned}[state])
        case ["race", root, name, runners]:
            race(Path(root), name, int(runners))
        case ["hang", root]:
            hang(Path(root))
        case ["use", root, key]:
            use(Path(root), key)
        case ["add", root, *keys]:
            add(Path(root), keys)
        case unknown:
            sys.exit(f"no such builder: {unknown}")
