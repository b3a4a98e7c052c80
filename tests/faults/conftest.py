"""The suite of the planted bugs."""

from __future__ import annotations

import pytest

from parity.plugin.suite import suite_of
from parity.record.suite import Suite


@pytest.fixture(scope="session")
def suite(pytestconfig: pytest.Config) -> Suite:
    return suite_of(pytestconfig)
