"""The suite of the planted bugs: on seeded weights, which every machine has."""

from __future__ import annotations

import pytest

from parity.declarations import System
from parity.plan.weights import Weights, choose
from parity.plugin.suite import suite_of
from parity.record.suite import Suite


class Seeded(Suite):
    """A suite on seeded weights. A system that has none takes its trained ones."""

    def weights(self, system: System) -> Weights:
        return choose(system.reference, "seeded" if system.reference.seed else "trained", self.cache)


@pytest.fixture(scope="session")
def suite(pytestconfig: pytest.Config) -> Suite:
    known = suite_of(pytestconfig)
    return Seeded(known.options, known.run_id)
