"""Every artifact, and the chain of them, against what upstream computed."""

from collections.abc import Callable

import pytest

from parity.declarations import System
from parity.judge import gates
from parity.plan.checks import tables
from parity.plan.systems import systems
from parity.record import run
from parity.record.suite import Suite
from parity.report.summary import properties
from parity.report.terminal import explain
from parity.verdict import Check

pytestmark = pytest.mark.parity


def test_output_is_upstreams(check: Check, suite: Suite, record_property: Callable[[str, object], None]) -> None:
    verdict = suite.workbench(check).run(check)
    for name, value in properties(verdict):
        record_property(name, value)
    run.add(suite.folder, verdict)
    assert verdict.passed, explain(verdict)


@pytest.mark.parametrize("system", systems().values(), ids=list(systems()))
def test_every_output_has_gates_that_can_fail(system: System, suite: Suite) -> None:
    if suite.cases(system):  # of one that this run leaves out, the run says so
        assert not gates.complete(suite.gates(system), tables(system))
