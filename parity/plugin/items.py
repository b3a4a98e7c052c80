"""Items of a file that declares systems: a test for each check, and one for each system's gates."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from parity.base.files import StateError
from parity.blame.explain import explained
from parity.judge import gates
from parity.plan.checks import tables
from parity.plan.systems import declared
from parity.plugin.names import FILES, MEASURED, PARITY
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
        suite = suite_of(self.config)
        try:
            for system in declared(self.config.stash[FILES][self.path]):
                if checks := suite.checks(system):
                    yield GatesItem.from_parent(self, name=f"{system.name}-{GATES}", system=system)
                for check in checks:
                    yield CheckItem.from_parent(self, name=check.id, check=check)
        except (TypeError, ValueError) as error:
            raise self.CollectError(str(error)) from error


class _Item(pytest.Item):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_marker(PARITY)
        self.user_properties.append((CHECK, self.name))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        told = isinstance(excinfo.value, NotPassedError | StateError)
        return str(excinfo.value) if told else super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[os.PathLike[str] | str, int | None, str]:
        return self.path, 0, self.name  # pytest wants some line of whatever is skipped


class CheckItem(_Item):
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


class GatesItem(_Item):
    """A system's gates: every output has some, and they see every kind of fault."""

    def __init__(self, *, system: Any, **options: Any) -> None:
        super().__init__(**options)
        self.system = system

    def runtest(self) -> None:
        if problems := gates.complete(suite_of(self.config).gates(self.system), tables(self.system)):
            mend = f"`parity calibrate {self.system.name}` measures what has no gate, and writes the gates"
            raise NotPassedError("\n".join([*(f"{self.system.name}: {problem}" for problem in problems), mend]))
