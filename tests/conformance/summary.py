"""Counts the results, holds them against the known failures, and writes both down."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conformance import entries
from tests.conformance.compare import FACTOR
from tests.conformance.entries import Entry
from tests.conformance.records import FAILED, NOT_EXECUTED, PASSED, XFAILED, Record
from tests.conformance.suites import suite_of

KNOWN_SHARE = 0.003
_SHARE_MATTERS_FROM = 1000


@dataclass
class Summary:
    """The results of a run, ready to be shown."""

    results: dict[str, Record]
    collected: list[str]
    not_collected: dict[str, str]
    known: list[Entry]
    wider: list[Entry]
    failures: list[Record] = field(default_factory=list)
    known_failures: list[Record] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for entry in entries.match(self.known, self.collected) + entries.match(self.wider, self.collected):
            self.faults.append(f"stale entry: {entry.id} matches no test")
        excused = {test_id for entry in self.known for test_id in entry.matched}
        for record in self.results.values():
            if record.status == FAILED:
                (self.known_failures if record.id in excused else self.failures).append(record)
        for entry in self.known:
            passing = [i for i in entry.matched if i in self.results and self.results[i].status == PASSED]
            if passing:
                self.faults.append(f"stale entry: {entry.id} passes now, in {len(passing)} tests such as {passing[0]}")
        for entry in self.wider:
            needed = [self.results[i].factor or 0.0 for i in entry.matched if i in self.results]
            if entry.matched and len(needed) == len(entry.matched) and max(needed) <= FACTOR:
                self.faults.append(f"stale entry: {entry.id} needs no wider bound")
        if not self.executed:
            self.faults.append("no test executed")
        elif self.executed >= _SHARE_MATTERS_FROM and len(self.known_failures) > KNOWN_SHARE * self.executed:
            self.faults.append(f"{len(self.known_failures)} known failures are more than {KNOWN_SHARE:.1%} of all")

    def count(self, status: str) -> int:
        return sum(record.status == status for record in self.results.values())

    @property
    def executed(self) -> int:
        return self.count(PASSED) + self.count(FAILED)

    @property
    def good(self) -> bool:
        return not self.failures and not self.faults

    def last_line(self) -> str:
        skipped = len(self.results) - self.count(PASSED) - len(self.failures)
        return f"{self.count(PASSED)} passed, {len(self.failures)} failed, {skipped} skipped"

    def as_json(self) -> dict[str, Any]:
        return {
            "collected": len(self.collected),
            "run": len(self.results),
            "executed": self.executed,
            "passed": self.count(PASSED),
            "failed": len(self.failures),
            "known_failed": len(self.known_failures),
            "xfailed": self.count(XFAILED),
            "not_executed": self.count(NOT_EXECUTED),
            "compared": sum(record.compared > 0 for record in self.results.values() if record.status == PASSED),
            "predictions": sum(record.predictions for record in self.results.values()),
            "suites": self._tally(lambda record: [suite_of(record.id)]),
            "ops": self._tally(lambda record: record.ops),
            "reasons": dict(self._reasons(NOT_EXECUTED).most_common()),
            "xfail_reasons": dict(self._reasons(XFAILED).most_common()),
            "not_collected": self.not_collected,
            "faults": self.faults,
            "failures": [{"id": r.id, "reason": r.reason, "trace": r.trace} for r in self.failures],
            "known_failures": [{"id": r.id, "reason": r.reason} for r in self.known_failures],
        }

    def _tally(self, keys_of: Any) -> dict[str, dict[str, int]]:
        known = {record.id for record in self.known_failures}
        tally: dict[str, Counter[str]] = defaultdict(Counter)
        for record in self.results.values():
            status = "known" if record.id in known else record.status
            for key in keys_of(record):
                tally[key][status] += 1
        return {key: dict(tally[key]) for key in sorted(tally)}

    def _reasons(self, status: str) -> Counter[str]:
        return Counter(record.reason for record in self.results.values() if record.status == status)

    def as_text(self) -> str:
        content = self.as_json()
        lines: list[str] = []
        columns = (PASSED, FAILED, "known", XFAILED, NOT_EXECUTED)
        for title, key in (("suite", "suites"), ("op", "ops")):
            lines.append(f"{title:44s}" + "".join(f"{column:>14s}" for column in columns))
            for name, tally in content[key].items():
                lines.append(f"{name:44s}" + "".join(f"{tally.get(column, 0):14d}" for column in columns))
            lines.append("")
        for title, key in (
            ("not executed because", "reasons"),
            ("expected to fail by the suite because", "xfail_reasons"),
        ):
            lines.append(title)
            lines += [f"{number:8d}  {reason}" for reason, number in content[key].items()]
            lines.append("")
        lines += [f"not collected: {path}: {reason}" for path, reason in self.not_collected.items()]
        lines += [f"known failure: {record.id}" for record in self.known_failures]
        lines += [f"FAILED {record.id}\n       {record.reason}" for record in self.failures]
        lines += [f"FAULT {fault}" for fault in self.faults]
        lines.append(f"{content['executed']} executed, {content['compared']} of the passed compared values")
        return "\n".join([*lines, self.last_line()]) + "\n"

    def write(self, out: Path) -> None:
        (out / "summary.json").write_text(json.dumps(self.as_json(), indent=1) + "\n")
        (out / "summary.txt").write_text(self.as_text())
