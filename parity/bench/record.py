"""Record of a bench, stored beside the run record: `<run>/bench.json`; and the tables in which it is shown.

There is a row for each case and one for each artifact, and lines for what failed and what to do about it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from parity.base import records
from parity.base.text import Row, aligned, plain
from parity.verdict import Finding

SCHEMA = 6
NAME = "bench.json"
NONE = "–"


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
    """The size of an artifact, its first load, and the first run behind that. None: not measured.

    `ratio` is the time of a variant that could ship instead against that of the one that ships, in the same rounds; the
    median of the cases.
    """

    stage: str
    variant: str
    size_mb: float | None = None
    load_s: float | None = None
    first_run_ms: float | None = None
    ratio: float | None = None


@dataclass(frozen=True, kw_only=True)
class SystemBench:
    """One system. `alternatives` compute as what ships does, with their weights kept in another way. `same_as` names
    the system whose times these are, because artifacts, glue and cases are the same."""

    system: str
    cases: tuple[CaseTimes, ...]
    artifacts: tuple[ArtifactFacts, ...]
    alternatives: tuple[ArtifactFacts, ...] = ()
    same_as: str = ""


@dataclass(frozen=True, kw_only=True)
class BenchRecord:
    """One run of the bench. `judged` has the findings of each benchmark by the name of its test, `errors` what failed
    without a finding, `notes` what is true of the whole run."""

    id: str
    started: str
    machine: Mapping[str, str | int]
    partial: bool
    systems: tuple[SystemBench, ...]
    judged: Mapping[str, tuple[Finding, ...]]
    errors: Mapping[str, str]
    recorded: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return bool(self.judged) and not self.errors and all(map(passed, self.judged.values()))


def passed(findings: Collection[Finding]) -> bool:
    """Return whether a benchmark passes: nothing passes for want of findings."""
    return bool(findings) and all(finding.passed for finding in findings)


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


def table(record: BenchRecord) -> str:
    """Return the table of a bench: by system its cases and artifacts, then what was found, and the verdict."""
    lines = [machine(record.machine)]
    for system in record.systems:
        lines += ["", plain(system.system)]
        for index, rows in enumerate(tables(system)):
            lines += [*([""] if index else []), *aligned(rows)]
    lines += ["", *map(plain, remarks(record))]
    return "\n".join([*lines, headline(record)])


def tables(system: SystemBench) -> Iterator[list[Row]]:
    """Yield the tables of a system that have anything in them."""
    if system.same_as:
        yield [[f"timed with {system.same_as}: the same artifacts, glue and cases"]]
    else:
        yield from (rows for rows in (cases(system), steps(system), alternatives(system)) if len(rows) > 1)
    if len(rows := artifacts(system)) > 1:
        yield rows


def cases(system: SystemBench) -> list[Row]:
    """Return T_enc, the other sizes, the audio, the chain, and each stage: its share of the chain's time, in ms."""
    names = dict.fromkeys(name for one in system.cases for name in list(one.sizes)[1:])
    stages = dict.fromkeys(name for one in system.cases for name in one.stage_ms)
    rows: list[Row] = [["case", "T_enc", *names, "audio s", "rounds", "chain ms", "RTFx", "× eager", *stages]]
    for one in sorted(system.cases, key=lambda one: one.t_enc):
        sizes = [str(one.sizes.get(name, NONE)) for name in names]
        heard = (_cell(one.audio_seconds), _cell(one.rtfx)) if one.audio_seconds else (NONE, NONE)
        chain = [heard[0], str(one.rounds), _cell(one.chain_ms, 1), heard[1], _cell(one.ratio)]
        times = [_cell(one.stage_ms.get(name), 1) for name in stages]
        rows.append([one.case, str(one.t_enc or NONE), *sizes, *chain, *times])
    return _filled(rows)


def steps(system: SystemBench) -> list[Row]:
    """Return, for each stage that runs step by step, its bucket and `StepTimes`, and the time until there is audio."""
    rows: list[Row] = [["steps", "bucket", "count", "ms", "last / first", "first audio ms"]]
    for one in system.cases:
        heard = _cell(one.first_audio_ms, 1)
        for stage, made in one.steps.items():
            of = [str(made.bucket or NONE), str(made.count), _cell(made.ms, 3), _cell(made.growth)]
            rows.append([f"{one.case} {stage}", *of, heard])
            heard = ""
    return _filled(rows)


def artifacts(system: SystemBench) -> list[Row]:
    """Return the cold start, apart from the times above, in which everything is warm."""
    rows = []
    for one in system.artifacts:
        ratios = sorted(case.stage_ratio[one.stage] for case in system.cases if one.stage in case.stage_ratio)
        ends = dict.fromkeys(map(_cell, (ratios[0], ratios[-1]) if ratios else (None,)))
        cells = [_cell(one.size_mb), _cell(one.load_s), _cell(one.first_run_ms, 1), "…".join(ends)]
        if any(cell != NONE for cell in cells):
            rows.append([f"{one.stage} {one.variant}", *cells])
    return _filled([["artifact", "MB", "load s", "first run ms", "× eager"], *rows])


def alternatives(system: SystemBench) -> list[Row]:
    """Return what else could ship: its size, and its time against that of what does."""
    rows = [[f"{one.stage} {one.variant}", _cell(one.size_mb), _cell(one.ratio)] for one in system.alternatives]
    return [["beside what ships", "MB", "× its time"], *rows]


def machine(facts: Mapping[str, str | int]) -> str:
    return plain(", ".join(f"{name} {value}" for name, value in facts.items() if value not in ("", "declared")))


def remarks(record: BenchRecord) -> list[str]:
    """Return everything that failed, what became faster, and what is true of the whole run. What is said of several
    benchmarks in the same words is said once."""
    found: dict[str, list[str]] = {}
    for id, findings in record.judged.items():
        for finding in findings:
            if not finding.passed or (finding.gate == "baseline" and finding.message):
                said = f"{'' if finding.passed else '✗ '}{finding.message or finding.line()}"
                found.setdefault(said, []).append(id)
    for id, message in record.errors.items():
        found.setdefault(f"! {message}", []).append(id)
    lines = [f"{said}  ({ids[0]}{f' and {len(ids) - 1} more' * (len(ids) > 1)})" for said, ids in found.items()]
    return [*lines, *record.notes]


def headline(record: BenchRecord) -> str:
    failed = sum(not passed(findings) for findings in record.judged.values())
    counts = [f"✓ {len(record.judged) - failed}", *([f"✗ {failed}"] if failed else [])]
    counts += [f"! {len(record.errors)}"] if record.errors else []
    part = "  (a part of the bench: this is not the full verdict)" if record.partial else ""
    return f"bench {'passed' if record.passed else 'FAILED'}  {'  '.join(counts)}{part}"


def _filled(rows: Sequence[Row]) -> list[Row]:
    """Return the columns in which any row has a value; the first names the rows."""
    names, *columns = zip(*rows, strict=True)
    filled = [column for column in columns if len(rows) == 1 or any(cell not in (NONE, "") for cell in column[1:])]
    return [list(row) for row in zip(names, *filled, strict=True)]


def _cell(value: float | None, digits: int = 2) -> str:
    return NONE if value is None else f"{value:.{digits}f}"
