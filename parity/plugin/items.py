"""Items of a file that declares systems: those of every suite, of which a check, and a system's gates, are here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from parity.base.files import StateError
from parity.blame.explain import explained
from parity.declarations import System
from parity.golden.errors import GoldenError
from parity.judge import gates
from parity.plan.checks import tables
from parity.plan.systems import declared
from parity.plan.weights import WeightsError
from parity.plugin.names import FILES, ITEMS, MEASURED, PARITY
from parity.plugin.suite import suite_of
from parity.record import run
from parity.report.summary import properties
from parity.report.terminal import explain
from parity.verdict import Check

CHECK = "check"
"""The property of a test report that names its check."""
GATES = "gates"
"""The end of the name of the item that tests a system's gates."""


class NotPassedError(Exception):
    """A verdict that is not a pass, or gates that are not complete; the message is all that the terminal shows."""


class SystemFile(pytest.File):
    """A file that declares systems."""

    def collect(self) -> Iterator[pytest.Item]:
        try:
            for system in declared(self.config.stash[FILES][self.path], self.path):
                for items in self.config.stash[ITEMS]:
                    yield from items(self, system)
        except (TypeError, ValueError) as error:
            raise self.CollectError(str(error)) from error


class SystemItem(pytest.Item):
    """An item of a system, under the mark of its suite."""

    mark = PARITY

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_marker(self.mark)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        told = isinstance(excinfo.value, NotPassedError | StateError | WeightsError | GoldenError)
        return str(excinfo.value) if told else super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[os.PathLike[str] | str, int | None, str]:
        return self.path, 0, self.name  # pytest wants some line of whatever is skipped


class _Check(SystemItem):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.user_properties.append((CHECK, self.name))


class CheckItem(_Check):
    """One check. Its name is the check's id, as in reports and in the record."""

    def __init__(self, *, check: Check, **options: Any) -> None:
        super().__init__(**options)
        self.check = check

    def runtest(self) -> None:
        suite = suite_of(self.config)
        verdict = explained(suite.workbench(self.check), self.check)
        if self.name in self.config.stash.get(MEASURED, ()):
            verdict = replace(verdict, reused=False)
        self.user_properties += properties(verdict)
        run.add(suite.folder, verdict)
        if not verdict.passed:
            raise NotPassedError(explain(verdict))


class GatesItem(_Check):
    """A system's gates: every output has some, and they see every kind of fault."""

    def __init__(self, *, system: Any, **options: Any) -> None:
        super().__init__(**options)
        self.system = system

    def runtest(self) -> None:
        if problems := gates.complete(suite_of(self.config).gates(self.system), tables(self.system)):
            mend = f"`parity calibrate {self.system.name}` measures what has no gate, and writes the gates"
            raise NotPassedError("\n".join([*(f"{self.system.name}: {problem}" for problem in problems), mend]))


def failed(report: pytest.TestReport, item: pytest.Item, call: pytest.CallInfo[Any], so: str) -> str | None:
    """Return the first line of a test's failure, None if it did not fail. A skip is one: nothing was measured."""
    if report.skipped:
        report.outcome, report.longrepr = "failed", f"{item.name} was skipped, and so {so}"
    if not report.failed:
        return None
    said = str(call.excinfo.value if call.excinfo else report.longrepr).strip().splitlines()
    return said[0] if said else ""


def check_items(file: pytest.File, system: System) -> Iterator[pytest.Item]:
    """Yield the items of a system: its gates, and every check that this run can make."""
    if checks := suite_of(file.config).checks(system):
        yield GatesItem.from_parent(file, name=f"{system.name}-{GATES}", system=system)
    for check in checks:
        yield CheckItem.from_parent(file, name=check.id, check=check)
