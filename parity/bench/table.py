"""What a person reads of a bench: a row for each case, one for each artifact, and what to do about what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from parity.base.text import Row, aligned, plain
from parity.bench.record import ArtifactFacts, BenchRecord, CaseTimes, SystemBench

NONE = "–"


def table(record: BenchRecord) -> str:
    """Per system the cases and the artifacts; then what was found, and the verdict."""
    lines = [machine(record.machine)]
    for system in record.systems:
        lines += ["", plain(system.system)]
        lines += aligned(cases(system)) if system.cases else ["  no case was timed"]
        if rows := steps(system):
            lines += ["", *aligned(rows)]
        lines += ["", *aligned(artifacts(system))]
        if rows := rivals(system):
            lines += ["", *aligned(rows)]
    lines += ["", *map(plain, remarks(record))]
    return "\n".join([*lines, headline(record)])


def cases(system: SystemBench) -> list[Row]:
    """T_enc, the other sizes, the audio, the chain, and each stage: its share of the chain's time, in ms."""
    first = system.cases[0]
    others = list(first.sizes)[1:]
    stages = list(first.stage_ms)
    head = ["case", "T_enc", *others, "audio s", "chain ms", "p95 ms", "RTFx", "× eager", *stages]
    return [head, *(_case(one, others, stages) for one in sorted(system.cases, key=lambda one: one.t_enc))]


def steps(system: SystemBench) -> list[Row]:
    """Of stages that run step by step: how many steps, what one takes, how much more the last ones take than the first,
    and how long it is until there is audio."""
    rows: list[Row] = []
    for one in system.cases:
        heard = NONE if one.first_audio_ms is None else f"{one.first_audio_ms:.1f}"
        for stage, made in one.steps.items():
            rows.append([f"{one.case} {stage}", str(made.count), f"{made.ms:.3f}", f"{made.growth:.2f}", heard])
            heard = ""
    return [["steps", "count", "ms", "last / first", "first audio ms"], *rows] if rows else []


def artifacts(system: SystemBench) -> list[Row]:
    """The cold start apart from the times above, in which everything is warm."""
    head = ["artifact", "MB", "load s", "first run ms", "× eager"]
    ratios = {name: _range(system.cases, name) for one in system.cases for name in one.stage_ratio}
    return [head, *(_artifact(one, ratios) for one in system.artifacts)]


def rivals(system: SystemBench) -> list[Row]:
    """What else could ship: its size, and what it takes against what does."""
    rows = [[f"{one.stage} {one.variant}", f"{one.size_mb:.2f}", f"{one.ratio:.2f}"] for one in system.rivals]
    return [["beside what ships", "MB", "× its time"], *rows] if rows else []


def machine(facts: Mapping[str, str | int]) -> str:
    return plain(", ".join(f"{name} {value}" for name, value in facts.items() if value not in ("", "declared")))


def remarks(record: BenchRecord) -> list[str]:
    """Everything that failed, and what passed but wants to be acted upon: what became faster. What is said of several
    benchmarks in the same words is said once."""
    found: dict[str, list[str]] = {}
    for judged in record.judged:
        for finding in judged.findings:
            if not finding.passed or (finding.gate == "baseline" and finding.message):
                said = f"{'' if finding.passed else '✗ '}{finding.message or finding.line()}"
                found.setdefault(said, []).append(judged.id)
    for id, message in record.errors.items():
        found.setdefault(f"! {message}", []).append(id)
    return [f"{said}  ({ids[0]}{f' and {len(ids) - 1} more' * (len(ids) > 1)})" for said, ids in found.items()]


def headline(record: BenchRecord) -> str:
    failed = sum(not judged.passed for judged in record.judged)
    counts = [f"✓ {len(record.judged) - failed}", *([f"✗ {failed}"] if failed else [])]
    counts += [f"! {len(record.errors)}"] if record.errors else []
    part = "  (a part of the bench: this is not the full verdict)" if record.partial else ""
    return f"bench {'passed' if record.passed else 'FAILED'}  {'  '.join(counts)}{part}"


def _case(one: CaseTimes, others: Sequence[str], stages: Sequence[str]) -> Row:
    return [
        one.case,
        str(one.t_enc),
        *(str(one.sizes.get(name, NONE)) for name in others),
        f"{one.audio_seconds:.2f}",
        f"{one.chain_ms:.1f}",
        f"{one.chain_p95_ms:.1f}",
        f"{one.rtfx:.2f}",
        NONE if one.ratio is None else f"{one.ratio:.2f}",
        *(f"{one.stage_ms[name]:.1f}" for name in stages),
    ]


def _artifact(one: ArtifactFacts, ratios: Mapping[str, str]) -> Row:
    def said(value: float | None, digits: int) -> str:
        return NONE if value is None else f"{value:.{digits}f}"

    name = f"{one.stage} {one.variant}"
    return [name, said(one.size_mb, 2), said(one.load_s, 2), said(one.first_run_ms, 1), ratios.get(one.stage, NONE)]


def _range(timed: Sequence[CaseTimes], stage: str) -> str:
    found = sorted(one.stage_ratio[stage] for one in timed if stage in one.stage_ratio)
    low, high = f"{found[0]:.2f}", f"{found[-1]:.2f}"
    return low if low == high else f"{low}…{high}"
