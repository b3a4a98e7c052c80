"""Systems whose modules come from the packages of an extra."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from parity.base import libraries
from parity.base.paths import Project
from parity.declarations import Reference
from parity.record import suite
from parity.record.suite import Options, Suite
from tests.support.bucket_system import REFERENCE, system
from tests.support.golden_system import World

LENT = replace(REFERENCE, packages=("torch", "no-such-library"), extra="heavy", borrowed=True)


def of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: Reference) -> Suite:
    found = replace(system(), reference=reference)
    monkeypatch.setattr(suite, "systems", lambda: {"buckets": found})
    return Suite(Options(runtime="milrun"), "run", Project(tmp_path))


def test_without_the_extra_they_are_left_out_and_the_run_says_what_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = of(tmp_path, monkeypatch, LENT)
    assert left.systems() == {}
    assert "buckets: no-such-library not installed; make extra-heavy installs it" in left._not_run([])


def test_with_the_extra_they_are_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "installed", lambda name: True)
    assert list(of(tmp_path, monkeypatch, LENT).systems()) == ["buckets"]


def test_systems_that_need_the_extra_only_to_record_are_judged_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(of(tmp_path, monkeypatch, replace(LENT, borrowed=False)).systems()) == ["buckets"]


def test_git_keeps_their_goldens_as_those_of_any_other(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert not world.store(LENT).whole
    assert world.store(replace(LENT, borrowed=False)).whole
