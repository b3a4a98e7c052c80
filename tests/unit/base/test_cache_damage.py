"""Cache entries that somebody changed: never used, reported, made anew."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parity.base.cache import Cache
from tests.support.cache_builders import CONTENT, KEY, fill, is_sound

OTHER = "cd" * 32


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def entry(cache: Cache) -> Path:
    return cache.get("artifact", KEY, fill)


def _never(folder: Path) -> None:
    raise AssertionError(f"made again in {folder}")


def _same_size_and_time(entry: Path) -> None:
    path = entry / "weights.bin"
    before = path.stat()
    path.write_bytes(b"1" + CONTENT["weights.bin"][1:])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _replaced_by_a_link(entry: Path) -> None:
    (entry / "note.txt").rename(entry.parent / "elsewhere")
    (entry / "note.txt").symlink_to(entry.parent / "elsewhere")


def _replaced_by_a_file(entry: Path) -> None:
    shutil.rmtree(entry)
    entry.write_bytes(b"")


def _replaced_by_a_link_to_itself(entry: Path) -> None:
    entry.rename(entry.parent / "elsewhere")
    entry.symlink_to(entry.parent / "elsewhere")


def _manifest(entry: Path, **changes: Any) -> None:
    path = entry / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a changed byte": (_same_size_and_time, "weights.bin has other contents than its manifest says"),
    "a file cut short": (
        lambda e: os.truncate(e / "weights.bin", 9),
        "weights.bin has 9 bytes, its manifest says 10000",
    ),
    "a missing file": (lambda e: (e / "inner/spec.txt").unlink(), "inner/spec.txt is missing"),
    "an extra file": (lambda e: (e / "inner/more.txt").touch(), "inner/more.txt is not in the manifest"),
    "a link for a file": (_replaced_by_a_link, "note.txt is a symlink"),
    "a link for the entry": (_replaced_by_a_link_to_itself, f"{KEY} is not a folder"),
    "a file for the entry": (_replaced_by_a_file, f"{KEY} is not a folder"),
    "no manifest": (lambda e: (e / "manifest.json").unlink(), "manifest.json is missing"),
    "half a manifest": (lambda e: os.truncate(e / "manifest.json", 50), "manifest.json is no valid manifest"),
    "an empty manifest": (lambda e: (e / "manifest.json").write_text("[]"), "manifest.json is no valid manifest"),
    "a deep manifest": (lambda e: (e / "manifest.json").write_text("[" * 99999), "manifest.json is no valid manifest"),
    "another's manifest": (lambda e: _manifest(e, key=OTHER), "manifest.json is the manifest of another entry"),
    "a later manifest": (lambda e: _manifest(e, schema=2), "manifest.json is the manifest of another entry or schema"),
    "a manifest of nothing": (lambda e: _manifest(e, files={}), "manifest.json lists no files"),
    "a manifest without parts": (lambda e: _manifest(e, parts=None), "manifest.json lists no files or no parts"),
    "a manifest that leads outside": (
        lambda e: _manifest(e, files={"../../outside": {"size": 0, "sha256": ""}}),
        "outside is missing",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_never_found_and_is_made_anew(cache: Cache, entry: Path, damage: str) -> None:
    do, fault = DAMAGES[damage]
    assert cache.find("artifact", KEY) == entry
    do(entry)
    with pytest.warns(UserWarning, match=f"damaged cache entry is not used: .*{fault}.*Delete {entry}"):
        assert cache.find("artifact", KEY) is None
    with pytest.warns(UserWarning, match=f"damaged cache entry is made anew: .*{fault}.*It lies in .*damaged"):
        assert cache.get("artifact", KEY, fill) == entry
    assert is_sound(entry)
    assert os.path.lexists(cache.root / "damaged" / f"artifact.{KEY}")
    assert cache.find("artifact", KEY) == entry


def test_an_entry_that_is_damaged_twice_is_made_anew_twice(cache: Cache, entry: Path) -> None:
    for _ in range(2):
        (entry / "note.txt").unlink()
        with pytest.warns(UserWarning, match="made anew"):
            cache.get("artifact", KEY, fill)
    assert [path.name for path in (cache.root / "damaged").iterdir()] == [f"artifact.{KEY}"]
    assert not list((cache.root / "tmp").iterdir())


def test_contents_are_hashed_once_unless_they_are_touched(cache: Cache, entry: Path, monkeypatch: Any) -> None:
    hashed = []
    file_digest = hashlib.file_digest

    def counting(file: Any, name: str) -> Any:
        hashed.append(Path(file.name).name)
        return file_digest(file, name)

    monkeypatch.setattr(hashlib, "file_digest", counting)
    assert cache.find("artifact", KEY)
    assert len(hashed) == len(CONTENT)
    assert cache.find("artifact", KEY)
    assert cache.get("artifact", KEY, _never)
    assert Cache(cache.root).find("artifact", KEY)
    assert len(hashed) == len(CONTENT)
    os.utime(entry / "note.txt")
    assert cache.find("artifact", KEY)
    assert len(hashed) == 2 * len(CONTENT)
