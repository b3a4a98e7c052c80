"""The suite's command-line options and fixtures."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import Any

import pytest

from parity.golden.store import open_store
from parity.plugin import checks
from parity.plugin.checks import SUITE
from parity.record import run
from parity.record.suite import Options, Suite
from parity.verdict import Check

pytest_plugins = ["parity.plugin.bench", "parity.plugin.speech"]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("parity", "parity of Core ML artifacts with the PyTorch models they were made from")
    group.addoption("--runtime", choices=("auto", "coreml", "milrun"), default="auto", help="what runs the artifacts")
    group.addoption(
        "--numerics",
        default="declared",
        metavar="NAME[,NAME]",
        help="how milrun computes: fp32, declared (the default) or ane; several, with commas between",
    )
    group.addoption("--weights", default="seeded", help="seeded (the default), hub, or the path of a checkpoint")
    group.addoption("--artifacts", default="", metavar="DIR", help="check the packages in DIR instead of converting")
    group.addoption("--cases", choices=("short", "all"), default="short", help="which cases to run")
    group.addoption(
        "--compute-units",
        choices=("ALL", "CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE"),
        help="load every artifact on these, instead of those that it declares",
    )
    # The gate before a merge names its run, so that it can be certain of the record it reads.
    group.addoption("--run-id", default="", help=argparse.SUPPRESS)


def pytest_configure(config: pytest.Config) -> None:
    options = Options(
        config.getoption("--runtime"),
        tuple(config.getoption("--numerics").split(",")),
        config.getoption("--weights"),
        config.getoption("--artifacts"),
        config.getoption("--cases"),
        config.getoption("--compute-units"),
    )
    worker: dict[str, Any] = getattr(config, "workerinput", {})
    run_id = worker.get("parity_run") or config.getoption("--run-id") or run.new_id(datetime.now(UTC))
    config.stash[SUITE] = Suite(options, open_store, run_id)
    config.pluginmanager.register(checks)


@pytest.fixture(scope="session")
def suite(pytestconfig: pytest.Config) -> Suite:
    return pytestconfig.stash[SUITE]


@pytest.fixture
def check(request: pytest.FixtureRequest) -> Check:
    """One check of the plan, see `parity.judge.workbench`."""
    return request.param
