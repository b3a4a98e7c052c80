"""Table of a bench: a row for each case, one for each artifact, and what to do about missing values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from parity.base.text import Row, aligned, plain
from parity.bench.record import BenchRecord, SystemBench

NONE = "–"


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
    """Return, of stages that run step by step, the bucket, how many steps there are, the time of one, how much longer
    the last ones take than the first, and how long it is until there is audio."""
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
    for judged in record.judged:
        for finding in judged.findings:
            if not finding.passed or (finding.gate == "baseline" and finding.message):
                said = f"{'' if finding.passed else '✗ '}{finding.message or finding.line()}"
                found.setdefault(said, []).append(judged.id)
    for id, message in record.errors.items():
        found.setdefault(f"! {message}", []).append(id)
    lines = [f"{said}  ({ids[0]}{f' and {len(ids) - 1} more' * (len(ids) > 1)})" for said, ids in found.items()]
    return [*lines, *record.notes]


def headline(record: BenchRecord) -> str:
    failed = sum(not judged.passed for judged in record.judged)
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
