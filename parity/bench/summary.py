"""The record of a bench: what was measured of each system, in few numbers, and what was found."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence

from parity.bench.benchmarks import Kind
from parity.bench.record import Alternative, ArtifactFacts, BenchRecord, CaseTimes, Judged, SystemBench
from parity.bench.session import Bench
from parity.bench.timer import Measured
from parity.plan.checks import CHAIN


def summary(bench: Bench, partial: bool, errors: Mapping[str, str], recorded: Sequence[str] = ()) -> BenchRecord:
    """Return the record of a bench. `errors` has, by test, what failed without a finding."""
    return BenchRecord(
        id=bench.suite.run_id,
        started=bench.started.isoformat(timespec="seconds"),
        machine=bench.machine,
        partial=partial,
        systems=tuple(_systems(bench)),
        judged=tuple(Judged(one.test, result.findings) for one, result in bench.results.items()),
        errors=errors,
        recorded=tuple(recorded),
        notes=tuple(bench.notes()),
    )


def _systems(bench: Bench) -> Iterator[SystemBench]:
    shown: dict[int, str] = {}
    for name in dict.fromkeys(one.system for one in bench.results):
        timer = bench.measurements.known(name)
        measured = timer.so_far if timer else ()
        yield SystemBench(
            system=name,
            cases=tuple(map(_times, measured)),
            artifacts=tuple(_artifacts(bench, name)),
            alternatives=tuple(_alternatives(bench, name, measured)),
            same_as=shown.get(id(timer), "") if measured else "",
        )
        shown.setdefault(id(timer), name)


def _artifacts(bench: Bench, system: str) -> Iterator[ArtifactFacts]:
    """Return what was measured of each artifact; nothing is measured only to be shown."""
    wanted: set[tuple[Kind, str]] = {(one.kind, one.stage) for one in bench.results if one.system == system}
    timer = bench.measurements.known(system)
    for stage in bench.systems[system].stages:
        loaded = timer if ("load", stage.name) in wanted else None
        first = loaded.first_run(stage) if loaded else None
        yield ArtifactFacts(
            stage=stage.name,
            variant=bench.ships[system].variants[stage.name].name,
            size_mb=bench.megabytes(system, stage) if ("size", stage.name) in wanted else None,
            load_s=loaded.loads(stage)[0] if loaded else None,
            first_run_ms=None if first is None else 1e3 * first,
        )


def _alternatives(bench: Bench, system: str, found: Sequence[Measured]) -> Iterator[Alternative]:
    for stage in bench.systems[system].stages:
        ratios: dict[str, list[float]] = {}
        for measured in found:
            for variant, ratio in measured.alternatives.get(stage.name, {}).items():
                ratios.setdefault(variant, []).append(ratio)
        for variant, of in ratios.items():
            size = bench.megabytes(system, stage, stage.variant(variant))
            yield Alternative(stage=stage.name, variant=variant, size_mb=size, ratio=statistics.median(of))


def _times(measured: Measured) -> CaseTimes:
    stages = {name: timing for name, timing in measured.timings.items() if name != CHAIN}
    chain = measured.timings[CHAIN]
    return CaseTimes(
        case=measured.case,
        sizes=measured.sizes,
        t_enc=measured.t_enc,
        audio_seconds=measured.audio_seconds,
        rounds=measured.rounds,
        chain_ms=chain.milliseconds,
        rtfx=measured.rtfx,
        ratio=chain.ratio,
        stage_ms={name: timing.milliseconds for name, timing in stages.items()},
        stage_ratio={name: timing.ratio for name, timing in stages.items() if timing.ratio is not None},
        steps=measured.steps,
        first_audio_ms=measured.first_audio_ms,
    )
