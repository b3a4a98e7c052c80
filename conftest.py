"""A fixture for this repository's own tests; the checks themselves come from the plugin, `parity.plugin`."""

from __future__ import annotations

import pytest

from parity.plugin.suite import suite_of
from parity.record.suite import Suite


@pytest.fixture(scope="session")
def suite(pytestconfig: pytest.Config) -> Suite:
    """The suite that the checks of this run would use."""
    return suite_of(pytestconfig)
