"""What a test's outcome says about milrun: only a test in which a prediction ran can pass or fail."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conformance.compare import Meter
from tests.conformance.records import FAILED, NOT_EXECUTED, PASSED, XFAILED, Record
from tests.conformance.watch import Sighting

_PACKAGE = re.compile(r"/\S+\.mlpackage")
_LONGEST_TRACE = 4000
_LONGEST_REASON = 300


@dataclass
class Outcome:
    """One phase of a test: passed, failed or skipped, and how."""

    outcome: str
    reason: str = ""
    error: str = ""
    trace: str = ""
    in_milrun: bool = False


def outcome_of(report: pytest.TestReport, call: pytest.CallInfo[None]) -> Outcome:
    if report.passed or call.excinfo is None:  # without an exception: it passed where the suite expects a failure
        return Outcome("passed")
    error = call.excinfo.type.__name__
    reason = _PACKAGE.sub("model.mlpackage", f"{error}: {call.excinfo.value}".strip())[:_LONGEST_REASON]
    in_milrun = any(_is_milrun(Path(str(entry.path))) for entry in call.excinfo.traceback)
    if report.skipped:
        if hasattr(report, "wasxfail"):
            return Outcome("xfailed", report.wasxfail or reason, error, report.longreprtext, in_milrun)
        skipped = report.longrepr[2] if isinstance(report.longrepr, tuple) else reason
        return Outcome("skipped", str(skipped)[:_LONGEST_REASON])
    return Outcome("failed", reason, error, report.longreprtext[-_LONGEST_TRACE:], in_milrun)


def _is_milrun(path: Path) -> bool:
    module = sys.modules.get("milrun")
    return module is not None and Path(str(module.__file__)).parent in path.parents


def judge(
    test_id: str, reports: dict[str, Outcome], seen: Sighting, meter: Meter, xfail: str, seconds: float
) -> Record | None:
    """The record of a finished test; None for one that was interrupted."""
    setup, call, teardown = (reports.get(phase) for phase in ("setup", "call", "teardown"))
    if teardown is None:
        return None
    record = Record(
        test_id,
        NOT_EXECUTED,
        predictions=seen.predictions,
        compared=meter.compared,
        ops=sorted(seen.ops),
        seconds=seconds,
        factor=meter.needed,
        notes=seen.errors[:3],
    )
    result = call or setup
    if result is None:
        return None
    record.error, record.trace = result.error, result.trace
    if result.outcome == "skipped":
        record.reason = result.reason.removeprefix("Skipped: ")
        record.reason = f"skipped: {record.reason}"
    elif result.outcome == "passed":
        if seen.predictions:
            record.status = PASSED
        else:
            record.reason = "refused at load" if seen.errors else "no prediction"
    elif xfail or result.outcome == "xfailed":
        record.status, record.reason = XFAILED, f"{xfail or result.reason} | {result.reason}"
    elif seen.foreign and not seen.errors:
        record.reason = "not an ML program"
    elif seen.predictions or seen.errors or result.in_milrun:
        record.status, record.reason = FAILED, result.reason
    else:
        record.reason = f"raised before any prediction: {result.reason.partition(chr(10))[0][:100]}"
    return record
