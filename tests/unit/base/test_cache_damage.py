"""Cache entries that somebody changed: never used, reported, made anew."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parity.base import cache as cache_module
from parity.base.cache import Cache
from tests.support.cache_builders import CONTENT, KEY, fill, is_sound

OTHER = "cd" * 32


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def entry(cache: Cache) -> Path:
    return cache.get("artifact", KEY, fill)


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
        "weights.bin has another size than its manifest says",
    ),
    "a missing file": (lambda e: (e / "inner/spec.txt").unlink(), "inner/spec.txt is missing"),
    "an extra file": (lambda e: (e / "inner/more.txt").touch(), "inner/more.txt is not in the manifest"),
    "a link for a file": (_replaced_by_a_link, "note.txt is neither a file nor a folder"),
    "a link for the entry": (_replaced_by_a_link_to_itself, f"{KEY} is not a folder"),
    "a file for the entry": (_replaced_by_a_file, f"{KEY} is not a folder"),
    "no manifest": (lambda e: (e / "manifest.json").unlink(), "can't be read"),
    "half a manifest": (lambda e: os.truncate(e / "manifest.json", 50), "can't be read"),
    "an empty manifest": (lambda e: (e / "manifest.json").write_text("[]"), "can't be read"),
    "a deep manifest": (lambda e: (e / "manifest.json").write_text("[" * 99999), "can't be read"),
    "another's manifest": (lambda e: _manifest(e, key=OTHER), "has the manifest of another entry"),
    "a later manifest": (lambda e: _manifest(e, schema=2), "has the manifest of another entry or schema"),
    "a manifest of nothing": (lambda e: _manifest(e, files={}), "is not in the manifest"),
    "a manifest that leads outside": (
        lambda e: _manifest(e, files={"../../outside": {"size": 0, "sha256": ""}}),
        "is (missing|not in the manifest)",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_made_again(cache: Cache, entry: Path, damage: str) -> None:
    do, fault = DAMAGES[damage]
    do(entry)
    cache_module._hashed.clear()  # as a new process
    assert cache.has("artifact", KEY) is (damage == "a changed byte")  # contents are compared at use
    with pytest.warns(UserWarning, match=f"damaged cache entry is not used: .*{fault}.*Delete {entry}"):
        assert cache.find("artifact", KEY) is None
    with pytest.warns(UserWarning, match=f"damaged cache entry is made again: .*{fault}"):
        assert cache.get("artifact", KEY, fill) == entry
    assert is_sound(entry)
    assert cache.find("artifact", KEY) == entry
    assert not list((cache.root / "tmp").iterdir())
