"""Record of a bench, stored beside the run record: `<run>/bench.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from parity.base import records
from parity.verdict import Finding

SCHEMA = 5
NAME = "bench.json"


class BenchRecordError(ValueError):
    """A bench.json that is damaged or foreign."""


@dataclass(frozen=True, kw_only=True)
class StepTimes:
    """A stage that makes many steps: their number, the median of one, and the bucket in which they ran, if it has some.

    `growth` is the time of a step in the last quarter against the first: a cache that fills makes it grow.
    """

    count: int
    ms: float
    growth: float
    bucket: int | None = None


@dataclass(frozen=True, kw_only=True)
class CaseTimes:
    """One case; times are medians over its rounds.

    `ratio` and `stage_ratio` compare with eager PyTorch, where it ran. `first_audio_ms` is what the artifacts of a
    streaming chain take until there is something to hear.
    """

    case: str
    sizes: Mapping[str, int]
    t_enc: int
    audio_seconds: float
    rounds: int
    chain_ms: float
    rtfx: float
    ratio: float | None
    stage_ms: Mapping[str, float]
    stage_ratio: Mapping[str, float]
    steps: Mapping[str, StepTimes] = field(default_factory=dict)
    first_audio_ms: float | None = None


@dataclass(frozen=True, kw_only=True)
class ArtifactFacts:
    """The size of an artifact, its first load, and the first run behind that. None: not measured."""

    stage: str
    variant: str
    size_mb: float | None
    load_s: float | None
    first_run_ms: float | None


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """A variant that computes as the shipping one does, with its weights kept in another way. `ratio` is its time
    against that of the shipping one, in the same rounds; the median of the cases."""

    stage: str
    variant: str
    size_mb: float
    ratio: float


@dataclass(frozen=True, kw_only=True)
class SystemBench:
    """One system. `same_as` names the system whose times these are, because artifacts, glue and cases are the same."""

    system: str
    cases: tuple[CaseTimes, ...]
    artifacts: tuple[ArtifactFacts, ...]
    alternatives: tuple[Alternative, ...] = ()
    same_as: str = ""


@dataclass(frozen=True)
class Judged:
    """Result of one benchmark."""

    id: str
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        return bool(self.findings) and all(finding.passed for finding in self.findings)


@dataclass(frozen=True, kw_only=True)
class BenchRecord:
    """One run of the bench. `errors` has what failed without a finding, `notes` what is true of the whole run."""

    id: str
    started: str
    machine: Mapping[str, str | int]
    partial: bool
    systems: tuple[SystemBench, ...]
    judged: tuple[Judged, ...]
    errors: Mapping[str, str]
    recorded: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return bool(self.judged) and not self.errors and all(one.passed for one in self.judged)


def save(record: BenchRecord, folder: Path) -> Path:
    """Write bench.json into a run's folder."""
    return records.save(record, folder / NAME, SCHEMA)


def load(path: Path) -> BenchRecord:
    """Read a bench.json, or the one in a run's folder."""
    path = path / NAME if path.is_dir() else path
    return records.load(BenchRecord, path, SCHEMA, BenchRecordError, "delete it and run `pytest -m bench`")


def beside(run: Path) -> BenchRecord | None:
    """Return the bench of this run, or else the last one. Records of another schema cannot be shown."""
    found = [run / NAME] if (run / NAME).exists() else sorted(run.parent.glob(f"*/{NAME}"))
    shown = [path for path in found if records.of_schema(path, SCHEMA)]
    return load(shown[-1]) if shown else None
