"""The cache: entries are whole, made once, and never used when they are damaged."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parity.base.cache import Cache
from tests.support.cache_builders import CONTENT, KEY, fill, is_sound, wait_for

OTHER = "cd" * 32


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def entry(cache: Cache) -> Path:
    return cache.get("artifact", KEY, fill, {"weights": "abc", "options": {"opset": 17}})


def _never(folder: Path) -> None:
    raise AssertionError(f"made again in {folder}")


def _process(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.support.cache_builders", *map(str, arguments)]
    root = Path(__file__).parents[3]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root)


def _finished(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


def _temporary(cache: Cache) -> list[Path]:
    return list((cache.root / "tmp").glob("*"))


def test_a_cache_that_nobody_writes_to_makes_no_folder(cache: Cache) -> None:
    assert cache.find("artifact", KEY) is None
    assert not cache.root.exists()


def test_an_entry_is_made_once_and_then_found(cache: Cache, entry: Path) -> None:
    assert entry == cache.root / "artifact" / KEY
    assert is_sound(entry)
    assert cache.get("artifact", KEY, _never) == entry
    assert cache.find("artifact", KEY) == entry
    assert Cache(cache.root).find("artifact", KEY) == entry


def test_kinds_and_keys_are_kept_apart(cache: Cache, entry: Path) -> None:
    assert cache.find("evidence", KEY) is None
    assert cache.find("artifact", OTHER) is None


def test_the_manifest_tells_what_is_inside_and_what_made_it(cache: Cache, entry: Path) -> None:
    manifest = json.loads((entry / "manifest.json").read_text())
    assert (manifest["kind"], manifest["key"]) == ("artifact", KEY)
    assert manifest["files"] == {
        name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()} for name, content in CONTENT.items()
    }
    assert manifest["parts"] == {"weights": "abc", "options": {"opset": 17}}


def test_parts_that_can_not_be_kept_are_refused_before_anything_is_made(cache: Cache) -> None:
    with pytest.raises(TypeError, match=r"options\.shape is a tuple"):
        cache.get("artifact", KEY, _never, {"options": {"shape": (1, 2)}})


@pytest.mark.parametrize(
    "key", ["", "abc", "../" + "a" * 61, "A" * 64, "g" * 64, "a" * 65, "a" * 63 + "\n", "a" * 64 + "\n"]
)
def test_a_key_that_is_no_sha256_is_refused(cache: Cache, key: str) -> None:
    with pytest.raises(ValueError, match="a cache key is a sha256"):
        cache.get("artifact", key, _never)
    with pytest.raises(ValueError, match="a cache key is a sha256"):
        cache.find("artifact", key)


@pytest.mark.parametrize("kind", ["", ".", "..", "a/b", "/a", "Artifact", "a\n", "tmp", "locks", "runs", "a" * 65])
def test_a_kind_that_is_no_plain_word_or_has_a_meaning_is_refused(cache: Cache, kind: str) -> None:
    for use in (lambda: cache.get(kind, KEY, _never), lambda: cache.find(kind, KEY)):
        with pytest.raises(ValueError, match="a cache kind is a lower-case word"):
            use()


def test_a_build_that_fails_leaves_nothing_and_can_be_repeated(cache: Cache) -> None:
    def fail(folder: Path) -> None:
        fill(folder)
        raise RuntimeError("conversion failed")

    with pytest.raises(RuntimeError, match="conversion failed"):
        cache.get("artifact", KEY, fail)
    assert cache.find("artifact", KEY) is None
    assert not _temporary(cache)
    assert is_sound(cache.get("artifact", KEY, fill))


def _link(folder: Path) -> None:
    (folder / "weights.bin").symlink_to("/etc/hostname")


def _linked_folder(folder: Path) -> None:
    fill(folder)
    (folder / "more").symlink_to(folder / "inner")


def _pipe(folder: Path) -> None:
    os.mkfifo(folder / "pipe")


def _own_manifest(folder: Path) -> None:
    (folder / "Manifest.json").write_text("{}")


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (lambda folder: None, f"artifact {KEY}: an entry is one file or more"),
        (lambda folder: (folder / "empty").mkdir(), f"artifact {KEY}: an entry is one file or more"),
        (_link, "weights.bin is neither a file nor a folder"),
        (_linked_folder, "more is neither a file nor a folder"),
        (_pipe, "pipe is neither a file nor a folder"),
        (_own_manifest, f"artifact {KEY}: .* none manifest.json"),
    ],
)
def test_what_can_not_be_an_entry_is_refused(cache: Cache, make: Callable[[Path], Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        cache.get("artifact", KEY, make)
    assert cache.find("artifact", KEY) is None
    assert not _temporary(cache)


@pytest.mark.parametrize("state", ["empty", "damaged", "abandoned"])
def test_killed_at_any_moment_a_build_leaves_nothing_half_made(tmp_path: Path, state: str) -> None:
    moments = int(_finished(_process("killed", tmp_path / "cache", state)))
    assert moments >= 20


def test_of_processes_that_want_the_same_entry_one_makes_it(tmp_path: Path) -> None:
    processes = [_process("race", tmp_path, name, 3) for name in range(3)]
    folders = {_finished(process) for process in processes}
    assert len((tmp_path / "made").read_text().splitlines()) == 1
    assert len(folders) == 1
    assert is_sound(Path(folders.pop().strip()))


def test_who_waits_for_a_build_that_is_killed_makes_the_entry_itself(tmp_path: Path) -> None:
    builder = _process("hang", tmp_path)
    try:
        wait_for((tmp_path / "hanging").exists)
        waiter = _process("race", tmp_path, "waiter", 1)
        wait_for((tmp_path / "ready.waiter").exists)
    finally:
        builder.send_signal(signal.SIGKILL)
        builder.communicate()
    assert is_sound(Path(_finished(waiter).strip()))
    assert not list((tmp_path / "cache" / "tmp").iterdir())


def test_a_build_that_is_alive_keeps_its_folder_when_others_trim_the_cache(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 0)
    builder = _process("hang", tmp_path)
    try:
        wait_for((tmp_path / "hanging").exists)
        cache.trim()
        (temporary,) = _temporary(cache)
        assert (temporary / "half.bin").read_bytes() == b"half"
    finally:
        builder.send_signal(signal.SIGKILL)
        builder.communicate()
    cache.trim()
    assert not _temporary(cache)


def test_a_build_may_open_the_cache_and_use_other_entries_of_it(cache: Cache) -> None:
    def make(folder: Path) -> None:
        part = Cache(cache.root).get("part", OTHER, fill)
        fill(folder)
        (folder / "note.txt").write_bytes((part / "note.txt").read_bytes())

    assert is_sound(cache.get("artifact", KEY, make))
    assert cache.find("part", OTHER)
