"""The limit of a cache holds, entries in use survive, and what lies there is shown and cleared."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from parity.__main__ import main
from parity.base.cache import Cache
from parity.base.files import StateError, write_atomically
from parity.base.paths import at, using
from tests.support.cache_builders import CONTENT, fill, wait_for

KEYS = [digit * 64 for digit in "12345"]
RUN = "20260101T120000-0a1b2c"
SIZE = sum(map(len, CONTENT.values()))


def _process(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.support.cache_builders", *map(str, arguments)]
    return subprocess.Popen(command, cwd=Path(__file__).parents[3], text=True)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A cache in which a process that has ended made five entries, one after the other."""
    assert _process("add", tmp_path, *KEYS).wait() == 0
    return tmp_path / "cache"


@pytest.fixture
def in_use(root: Path) -> Iterator[None]:
    """While another process uses the oldest of the entries."""
    process = _process("use", root.parent, KEYS[0])
    try:
        wait_for((root.parent / "using").exists)
        yield
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def left(root: Path) -> str:
    return "".join(sorted(path.name[0] for path in (root / "artifact").iterdir()))


def test_entries_that_were_used_longest_ago_are_removed_until_the_rest_fits(root: Path) -> None:
    assert [path.name for path in Cache(root, 3 * SIZE).trim()] == KEYS[:2]
    assert left(root) == "345"
    assert not list((root / "tmp").iterdir())
    assert Cache(root, 3 * SIZE).trim() == []


def test_using_an_entry_keeps_it_longest(root: Path) -> None:
    assert _process("add", root.parent, KEYS[0]).wait() == 0
    Cache(root, 2 * SIZE).trim()
    assert left(root) == "15"


def test_the_limit_holds_when_something_is_added(root: Path) -> None:
    Cache(root, 3 * SIZE).get("artifact", "6" * 64, fill)
    assert left(root) == "456"


@pytest.mark.usefixtures("in_use")
def test_an_entry_that_a_running_process_uses_stays(root: Path) -> None:
    Cache(root, 0).trim()
    assert left(root) == "1"
    assert [item.path.name for item in Cache(root).clear()] == KEYS[:1]
    assert left(root) == "1"


def test_runs_count_and_kinds_are_shown_and_cleared(root: Path) -> None:
    Cache(root).get("evidence", KEYS[0], fill)
    (root / "runs" / RUN).mkdir(parents=True)
    (root / "runs" / RUN / "run.json").write_bytes(bytes(2_500_000))
    shown = [line.split()[:3] for line in Cache(root).table()]
    assert shown[1:] == [
        ["artifact", "5", "0.1"],
        ["evidence", "1", "0.0"],
        ["runs", "1", "2.5"],
        ["total", "7", "2.6"],
    ]
    assert Cache(root).clear("artifact") == []
    assert [line.split()[0] for line in Cache(root).table()[1:]] == ["evidence", "runs", "total"]
    with pytest.raises(ValueError, match="has no 'artefact'; it has evidence, runs"):
        Cache(root).clear("artefact")


@pytest.mark.parametrize(
    "name",
    [
        "artifact/.DS_Store",
        f"artifact/{KEYS[0][:-1]}a",
        "artifact/manifest.json",
        "runs/notes.txt",
        f"runs/{RUN}",
        "runs/night/run.json",
        "release/MyPort.mlpackage/weights.bin",
        f"blobs/{KEYS[0]}/manifest.json",
        f".git/{KEYS[0]}/config",
        "tmp/artifact..DS_Store.removed",
        "tmp/a.file.of.others",
    ],
)
def test_what_the_cache_did_not_make_stays_and_breaks_nothing(root: Path, name: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("{}")
    shown = [line.split()[:2] for line in Cache(root).table()[1:]]
    assert shown == [["artifact", "5"], ["total", "5"]]
    assert len(Cache(root, 0).trim()) == 5
    assert Cache(root).clear() == []
    assert Cache(root, 0).trim() == []
    assert (root / name).read_text() == "{}"


def test_a_link_to_an_entry_is_not_an_entry(root: Path) -> None:
    (root / "release").mkdir()
    (root / "release" / KEYS[0]).symlink_to(root / "artifact" / KEYS[0])
    Cache(root, 4 * SIZE).trim()
    assert left(root) == "2345"
    assert (root / "release" / KEYS[0]).is_symlink()


def test_the_limit_is_that_of_the_project(tmp_path: Path) -> None:
    assert Cache.of(at(tmp_path)).limit == 5e9
    (tmp_path / "pyproject.toml").write_text("[tool.parity]\ncache_gb = 0.5\n")
    assert Cache.of(at(tmp_path)).limit == 5e8


def test_the_command_shows_and_clears(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root.parent / "pyproject.toml").write_text('[tool.parity]\nstate = "cache"\n')
    with using(at(root.parent)):
        assert main(["cache"]) == 0
        said = capsys.readouterr().out
        assert "artifact            5       0.1" in said
        assert "limit: 5 GB" in said
        assert main(["cache", "--clear", "artefact"]) == 2
        assert "has no 'artefact'; it has artifact" in capsys.readouterr().err
        assert main(["cache", "--clear", "artifact"]) == 0
        assert "artifact" not in capsys.readouterr().out
    assert left(root) == ""


def failing(number: int) -> Callable[..., None]:
    def fail(path: str, *arguments: object, **options: object) -> None:
        raise OSError(number, os.strerror(number), str(path))

    return fail


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "No space left on device. Free some disk space: `python -m parity cache`"),
        (errno.EROFS, "Read-only file system. Make it a folder that you may write to"),
        (errno.EACCES, "Permission denied. Make it a folder that you may write to"),
    ],
)
def test_a_disk_that_takes_nothing_is_told_with_the_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    monkeypatch.setattr(os, "mkdir", failing(number))
    for write in (
        lambda: Cache(tmp_path / "cache").get("artifact", KEYS[0], fill),
        lambda: write_atomically(tmp_path / "new" / "file", b""),
    ):
        with pytest.raises(StateError, match=rf"{tmp_path}.* can't be written: {said}"):
            write()


def test_a_cache_whose_place_is_taken_by_a_file_is_told_with_the_mend(tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    with pytest.raises(StateError, match=r"can't be written: Not a directory\. Make it a folder"):
        Cache(tmp_path / "cache").get("artifact", KEYS[0], fill)


def test_a_fault_of_the_build_stays_what_it_is(tmp_path: Path) -> None:
    def make(folder: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/somewhere/else")

    with pytest.raises(PermissionError, match="/somewhere/else"):
        Cache(tmp_path / "cache").get("artifact", KEYS[0], make)
