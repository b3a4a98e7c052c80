"""A reference that only an extra of the lock can run: git keeps all of its truth, and every error says what to do."""

from __future__ import annotations

import hashlib
import json
import lzma
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save

from parity.base import libraries
from parity.base.cache import Cache
from parity.base.paths import Project
from parity.golden import case_file, lock
from parity.golden.cli import main
from parity.golden.errors import ExtraWanted, GoldenError, MissingGolden, StaleGolden
from parity.golden.refresh import RefreshRefused, diff, refresh
from parity.golden.status import status
from tests.support.golden_system import LARGE, REFERENCE, World, quiet, weights

NEVER = "no-such-library"
EXTRA = replace(REFERENCE, packages=("numpy", NEVER), extra="heavy")
HELLO = REFERENCE.case("hello")
FILE = "hello.safetensors.xz"
Pinned = Callable[[str], None]


@pytest.fixture
def pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pinned:
    """The lock with this version for the extra's library."""
    monkeypatch.setattr(libraries, "project", lambda: Project(tmp_path))

    def pin(version: str) -> None:
        (tmp_path / "requirements-heavy.lock").write_text(f"{NEVER}=={version}\n")

    pin("1.0")
    return pin


@pytest.fixture
def world(tmp_path: Path, pinned: Pinned, monkeypatch: pytest.MonkeyPatch) -> World:
    """Recorded where the extra was installed."""
    world = World(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(libraries, "installed", lambda name: True)
        refresh(world.store(EXTRA), say=quiet)
    return world


def test_every_tensor_is_in_git_and_none_is_recorded_again(world: World) -> None:
    assert set(load(lzma.decompress((world.own / FILE).read_bytes()))) == {
        "whole/encoder/inputs/x",
        "whole/encoder/outputs/hidden",
        "whole/encoder/outputs/durations",
        "whole/decoder/outputs/audio",
    }
    elsewhere = world.store(EXTRA, machine="other", available=False)
    assert elsewhere.load(HELLO)["decoder"].outputs["audio"].size == LARGE
    assert np.array_equal(
        elsewhere.load(HELLO)["decoder"].outputs["audio"],
        list(REFERENCE.record(world.store().model, HELLO))[1].outputs["audio"],
    )
    found = status(elsewhere)
    assert found.fresh
    assert all(case.at_hand for case in found.cases)


def test_truth_of_another_version_of_the_extra_is_stale(world: World, pinned: Pinned) -> None:
    pinned("1.1")
    mend = 'Mend: make extra-heavy, then python -m parity golden refresh tiny --reason "…"'
    with pytest.raises(StaleGolden, match=rf"packages\.{NEVER}: 1\.0 → 1\.1\. {mend}"):
        world.store(EXTRA).load(HELLO)
    assert "mend: make extra-heavy, then" in str(status(world.store(EXTRA)))


def test_what_is_missing_is_mended_with_the_extra_and_without_where_it_is_there(
    tmp_path: Path, pinned: Pinned, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MissingGolden, match="Mend: make extra-heavy, then python -m parity golden refresh tiny"):
        World(tmp_path).store(EXTRA).load(HELLO)
    monkeypatch.setattr(libraries, "installed", lambda name: True)
    with pytest.raises(MissingGolden, match="Mend: python -m parity golden refresh tiny"):
        World(tmp_path).store(EXTRA).load(HELLO)


def test_nothing_is_recorded_without_the_extra(world: World) -> None:
    before = (world.own / "lock.json").read_bytes()
    for verb in (refresh, diff):
        with pytest.raises(ExtraWanted, match=rf"recording needs {NEVER}, which .* Mend: make extra-heavy$"):
            verb(world.store(EXTRA, gain=1.5), say=quiet)
    assert (world.own / "lock.json").read_bytes() == before


def test_one_system_without_its_extra_hides_no_other(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = {"tiny": EXTRA, "other": replace(REFERENCE, name="other")}

    def run(*arguments: str) -> int:
        made = weights(tmp_path / "weights")
        return main(list(arguments), both, lambda *asked: made, world.goldens, Cache(tmp_path / "cache"))

    assert run("refresh", "tiny", "other") == 2
    printed = capsys.readouterr()
    assert "golden: tiny skipped: tiny, case hello: recording needs" in printed.err
    assert "other: 2 cases: 2 new" in printed.out
    assert run("verify") == 2
    assert "verified: the same bits" in capsys.readouterr().out
    assert run("status") == 0


def test_a_reference_without_an_extra_wants_all_of_its_packages(tmp_path: Path, pinned: Pinned) -> None:
    (tmp_path / "requirements-heavy.lock").rename(tmp_path / "requirements.lock")
    with pytest.raises(ValueError, match=f"{NEVER} is not installed"):
        lock.provenance(replace(EXTRA, extra=""), weights(tmp_path))


def test_more_than_git_may_hold_is_not_written_whole_either(
    tmp_path: Path, pinned: Pinned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libraries, "installed", lambda name: True)
    monkeypatch.setattr(case_file, "MAX_BYTES", LARGE)
    world = World(tmp_path)
    with pytest.raises(RefreshRefused, match="all that git may"):
        refresh(world.store(EXTRA), say=quiet)
    assert not (world.own / "lock.json").exists()


def test_an_identity_is_refused_where_the_file_is_damaged(world: World) -> None:
    store = world.store(EXTRA)
    assert store.identity(HELLO) == store.identity(HELLO)
    with (world.own / FILE).open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\xff")
    with pytest.raises(GoldenError, match="sha256 differs"):
        store.identity(HELLO)


def vouch(world: World, data: bytes) -> None:
    """Another file, and a lock that vouches for it: only a look at the tensors can tell."""
    (world.own / FILE).write_bytes(data)
    lock = json.loads((world.own / "lock.json").read_text())
    lock["cases"]["hello"]["file"] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (world.own / "lock.json").write_text(json.dumps(lock))


def other(data: bytes) -> bytes:
    tensors = load(lzma.decompress(data))
    return lzma.compress(save({name: array + 1 for name, array in tensors.items()}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: lzma.decompress(data), "format not supported"),
        (lambda data: data[:-20], "does not end where its tensors end"),
        (lambda data: data + b"more", "does not end where its tensors end"),
        (lambda data: lzma.compress(bytes(100 << 20), preset=9), "does not end where its tensors end"),
        (lambda data: lzma.compress(b"no tensors"), "can't be read"),
        (lambda data: lzma.compress(data, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 28}]), "limit"),
        (other, "is not the tensor that the lock names"),
    ],
    ids=["plain", "cut", "longer", "bomb", "other", "memory", "values"],
)
def test_a_compressed_file_that_is_damaged_is_refused(
    world: World, change: Callable[[bytes], bytes], said: str
) -> None:
    vouch(world, change((world.own / FILE).read_bytes()))
    with pytest.raises(GoldenError, match=rf"{FILE}: .*{said}"):
        world.store(EXTRA).load(HELLO)
