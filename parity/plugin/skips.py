"""Refusal of skips: a measurement that did not take place is a failure."""

from __future__ import annotations

from typing import Any

import pytest


def failed(report: pytest.TestReport, item: pytest.Item, call: pytest.CallInfo[Any], so: str) -> str | None:
    """Return the first line of a test's failure, a skip included; None if it did not fail."""
    if report.skipped:
        report.outcome, report.longrepr = "failed", f"{item.name} was skipped, and so {so}"
    if not report.failed:
        return None
    said = str(call.excinfo.value if call.excinfo else report.longrepr).strip().splitlines()
    return said[0] if said else ""
