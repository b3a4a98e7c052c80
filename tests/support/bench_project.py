"""A project with a system on a clock of its own, for runs of pytest within a test."""

from __future__ import annotations

from pathlib import Path

import pytest
import soxr  # noqa: F401  # librosa's: runs of pytest in this process forget it, and it can't be imported twice

from tests.support.bench_system import BUDGETS, World

PORT = """
from pathlib import Path

from tests.support.bench_system import World

SYSTEM = World(Path(__file__).parent).system
"""
CONFTEST = """
from pathlib import Path

import pytest

from parity.bench.session import Bench
from parity.plugin.bench import SESSION, mode_of
from parity.plugin.suite import SUITE
from tests.support.bench_system import World

def pytest_configure(config):
    world = World(Path(__file__).parent)
    # Undone by the test that this runs in, or with the worker's process.
    world.settle(pytest.MonkeyPatch())
    world.artifact.update({"ARTIFACT": SECONDS})
    if FACTOR != 1:
        world.bend = lambda stage, run, value: value * FACTOR
    config.stash[SUITE] = world.suite()
    config.stash[SESSION] = Bench(config.stash[SUITE], mode_of(config), world.clock)


def pytest_benchmark_generate_machine_info():
    # Its own asks the processor for a second.
    return {"cpu": {}}
"""


class Project:
    """`run` gives what pytest's own test of plugins gives: outcomes and lines."""

    def __init__(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        # The runs in here are alone, also where the test that makes them runs in one of several workers.
        monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
        self.pytester = pytester
        self.world = World(pytester.path)
        self.world.settle(monkeypatch)
        self.world.write(BUDGETS.replace('"Linux"', f'"{self.world.bench().machine["system"]}"'))
        pytester.makepyprojecttoml(
            "[tool.parity]\nsystems = ['port.py']\n"
            "[tool.pytest.ini_options]\naddopts = '-p parity.plugin -p no:cacheprovider'"
        )
        pytester.path.joinpath("port.py").write_text(PORT)
        self.bend()

    def bend(self, seconds: float = 0.10, factor: float = 1) -> None:
        """What the decoder takes, and what all outputs are multiplied by."""
        text = CONFTEST.replace("ARTIFACT", "decoder").replace("SECONDS", str(seconds)).replace("FACTOR", str(factor))
        self.pytester.makeconftest(text)

    def run(self, *arguments: str) -> pytest.RunResult:
        return self.pytester.runpytest_inprocess("-m", "bench", *arguments)

    @property
    def kept(self) -> Path:
        """The folder of the run's records."""
        return self.world.suite().folder
