"""The suite of a run of pytest, made of the options when it is first wanted."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from parity.record import run, workers
from parity.record.suite import Options, Suite
from parity.verdict import Check

SUITE = pytest.StashKey[Suite]()


def suite_of(config: pytest.Config) -> Suite:
    """Return the suite that all checks of this process share. Workers of pytest-xdist share the id of their run."""
    if SUITE not in config.stash:
        chosen = config.option
        options = Options(
            runtime=chosen.parity_runtime,
            numerics=tuple(chosen.parity_numerics.split(",")),
            weights=chosen.parity_weights,
            artifacts=chosen.parity_artifacts,
            cases=chosen.parity_cases,
            compute_units=chosen.parity_compute_units,
        )
        worker: dict[str, Any] = getattr(config, "workerinput", {})
        run_id = worker.get("parity_run") or chosen.parity_run_id or run.new_id(datetime.now(UTC))
        config.stash[SUITE] = Suite(options, run_id)
    return config.stash[SUITE]


def build_missing(config: pytest.Config, checks: list[Check], measure: bool = False) -> frozenset[str]:
    """Build the artifacts that these checks need, and measure the checks too if asked; see `workers.prepare`."""
    capture = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        return workers.prepare(suite_of(config), checks, measure)
