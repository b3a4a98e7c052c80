"""Processes that build and measure ahead of the checks: which work shares them."""

from __future__ import annotations

import os
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any, Self

import pytest

from parity.record import workers
from parity.verdict import Check, Mode


def check(mode: Mode, case: str) -> Check:
    return Check(
        system="tiny",
        stage="stage",
        variant="fp32",
        case=case,
        mode=mode,
        runtime="milrun",
        numerics="declared",
    )


class Pool:
    """Stands in for a pool of processes, and does nothing at once."""

    made: list[tuple[int, list[Any]]]

    def __init__(self, count: int, *_: Any) -> None:
        self.given: list[Any] = []
        self.made.append((count, self.given))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def submit(self, do: Any, what: Any) -> Future[bool]:
        self.given.append(what)
        done: Future[bool] = Future()
        done.set_result(isinstance(what, Check))
        return done


def test_checks_at_the_largest_sizes_run_alone_after_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(Pool, "made", [], raising=False)
    large = [check("stretched", "long"), check("stretched", "longer")]
    others = [check("forced", f"case{number}") for number in range(workers.FEWEST)]
    need = ("tiny", "stage", "fp32")
    suite: Any = SimpleNamespace(
        wanted=lambda checks: [need], unmeasured=list, systems=dict, project=None, options=None
    )
    measured = workers.prepare(suite, [*large, *others], measure=True)
    assert Pool.made == [(2, [need, *others]), (1, large)]
    assert measured == {one.id for one in (*large, *others)}
