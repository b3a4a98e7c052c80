"""A run of the suite in a small project: how it ended, and what it put on record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from parity.record import run
from parity.record.run import RunRecord
from parity.verdict import Verdict
from tests.support.project import Project

GATHER = """\
import shutil, sys
from pathlib import Path
from parity.build.artifacts import Built
from parity.base.cache import Cache
from parity.plan.systems import systems
from parity.plan.weights import choose

cache = Cache(Path(".parity"))
for system in systems().values():
    built = Built(system, choose(system.reference, "seeded", cache), cache)
    for stage in system.stages:
        for variant in stage.variants:
            package = Path(sys.argv[1]) / f"{stage.name}-{variant.name}.mlpackage"
            shutil.copytree(built.get(stage, variant).package, package)
"""


@dataclass(frozen=True)
class Run:
    """`record` is None where the run left none, and so can't be taken for a pass."""

    code: int
    said: str
    record: RunRecord | None

    @property
    def green(self) -> bool:
        """All that is there to tell has to agree."""
        passed = self.record is not None and self.record.passed
        assert passed == (self.code == 0), f"exit code {self.code}\n{self.said}"
        return passed

    @property
    def verdicts(self) -> dict[str, Verdict]:
        assert self.record is not None, self.said
        return {verdict.id: verdict for verdict in self.record.verdicts}

    @property
    def problems(self) -> str:
        assert self.record is not None, self.said
        return "\n".join(self.record.problems())

    def broken(self, start: str) -> set[tuple[str, str]]:
        """Each output and gate that failed in the verdicts whose id starts so; at least one has to be there."""
        found = [verdict for id, verdict in self.verdicts.items() if id.startswith(start)]
        assert found, f"no verdict {start}: {', '.join(self.verdicts)}"
        return {(finding.output, finding.gate) for verdict in found for finding in verdict.failures}


def checked(project: Project, *arguments: str, mark: str = "parity", **environment: str) -> Run:
    """`pytest -m parity`, with these arguments."""
    before = records(project)
    selected = ("-m", mark) if mark else ()
    finished = project.run("pytest", "-q", *selected, *arguments, **environment)
    new = sorted(records(project) - before)
    assert len(new) < 2, "one run, several records"
    return Run(finished.code, finished.said, run.load(new[0]) if new else None)


def records(project: Project) -> set[Path]:
    return set(project.folder.glob(".parity/runs/*/run.json"))


def artifacts(project: Project) -> set[str]:
    """The keys of the artifacts that were built."""
    return {path.name for path in project.folder.glob(".parity/artifact/*")}


def gathered(project: Project, folder: str) -> str:
    """The built packages under the names that `--artifacts` looks for."""
    project.write("gather.py", GATHER)
    project.done("gather", folder)
    return folder
