"""A full disk is told as one, before a conversion begins where that can be known, and whatever coremltools says."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import coremltools
import pytest

from parity.base.cache import Cache
from parity.base.files import StateError
from parity.build.convert import ConversionError, compress, convert, traceable
from parity.build.palettes import Palettes
from tests.support import small_stages as small
from tests.support.small_stages import FP32, PAL4

Disk = Callable[[int], None]


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Says how many bytes every disk has left."""

    def leave(free: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))

    return leave


def _convert(package: Path) -> None:
    stage = small.stage(small.Small)
    convert(stage, FP32, traceable(stage, None), package, {})


def test_a_disk_without_room_is_told_before_the_work(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coremltools, "convert", lambda *_, **__: pytest.fail("the work began"))
    disk(3_000_000)
    said = r"has 3\.0 MB left on its disk, and 4\.2 MB are needed\. Free some disk space: `python -m parity cache`"
    with pytest.raises(StateError, match=said):
        _convert(tmp_path / "m.mlpackage")


@pytest.mark.parametrize("complaint", ["[MIL FileWriter]: Unknown error", "no such word"])
def test_a_disk_that_fills_up_during_the_work_is_told_whatever_coremltools_says(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch, complaint: str
) -> None:
    def fills_up(*_: Any, **__: Any) -> None:
        disk(100)
        raise RuntimeError(complaint)

    monkeypatch.setattr(coremltools, "convert", fills_up)
    disk(1 << 30)
    with pytest.raises(StateError, match=f"({tempfile.gettempdir()}|{tmp_path}).* Free some disk space"):
        _convert(tmp_path / "m.mlpackage")


def test_another_error_of_coremltools_stays_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("no such op")

    monkeypatch.setattr(coremltools, "convert", fails)
    with pytest.raises(ConversionError, match="coremltools could not convert it: no such op"):
        _convert(tmp_path / "m.mlpackage")


def test_compression_needs_room_too(tmp_path: Path, disk: Disk) -> None:
    _convert(tmp_path / "m.mlpackage")
    disk(0)
    with pytest.raises(StateError, match="Free some disk space"):
        compress(PAL4, tmp_path / "m.mlpackage", tmp_path / "n.mlpackage", {}, Palettes(Cache(tmp_path / "cache")))
