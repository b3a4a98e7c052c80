"""What a bench rules: on outputs, against the baseline, against budgets; and that nothing passes for want of either."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from parity.bench.baseline import find, path_of
from parity.bench.measurements import Benchmark
from parity.bench.results import Result
from parity.bench.session import Bench
from parity.bench.timer import SystemTimer
from parity.declarations import Stage
from parity.judge import budgets
from parity.judge.budgets import Budgets
from parity.run.placement import Placement
from parity.verdict import Finding
from tests.support.bench_system import BUDGETS, World

DECODER = Benchmark("speed", "tiny", "decoder", "fp32", "hello")
CHAIN = Benchmark("speed", "tiny", "chain", "ships", "hello")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tmp_path)
    made.settle(monkeypatch)
    system = str(made.bench().machine["system"])
    made.write(BUDGETS.replace('"Linux"', f'"{system}"'))
    return made


@pytest.fixture
def recorded(world: World) -> World:
    """With a baseline of this machine, as every test but those of recording wants it."""
    bench = world.bench("record")
    assert run(bench, "speed") == []
    bench.record_baselines("")
    return world


def run(bench: Bench, *kinds: str) -> list[Finding]:
    """The findings that failed."""
    results = [bench.judge(one) for one in bench.plan() if one.kind in kinds]
    return [finding for result in results for finding in result.findings if not finding.passed]


def test_the_same_speed_passes(recorded: World) -> None:
    assert run(recorded.bench(), "speed", "overall", "load", "size") == []
    assert run(recorded.bench(), "complete") == []


def test_a_slower_stage_fails_and_with_it_the_chain(recorded: World) -> None:
    recorded.artifact["decoder"] = 0.16
    lines = [finding.line() for finding in run(recorded.bench(), "speed")]
    assert lines[0].startswith("decoder: slower: 1.60 × the baseline's 1.25 × eager on hello (p ")
    assert lines[1].startswith("chain: slower: 1.46 ×")
    assert len(lines) == 2


def test_a_busy_machine_slows_both_and_nothing_fails(recorded: World) -> None:
    recorded.artifact = {name: 3 * seconds for name, seconds in recorded.artifact.items()}
    recorded.eager = {name: 3 * seconds for name, seconds in recorded.eager.items()}
    assert run(recorded.bench(), "speed", "overall") == []


def test_a_short_call_may_take_longer_in_another_process(world: World) -> None:
    world.artifact["decoder"] = world.eager["decoder"] = 2e-4
    bench = world.bench("record")
    assert run(bench, "speed") == []
    bench.record_baselines("")
    for seconds, told in ((2.45e-4, 0), (2.6e-4, 1)):
        world.artifact["decoder"] = seconds
        result = world.bench().judge(DECODER)
        assert len([one for one in result.findings if one.gate == "baseline" and not one.passed]) == told
        assert str(result.findings[1].bound) == "≤ 1.25 × eager"


def test_a_faster_stage_passes_and_asks_for_an_update(recorded: World) -> None:
    recorded.artifact["decoder"] = 0.05
    ruling = recorded.bench().judge(DECODER)
    assert ruling.passed
    assert "faster: 0.50 × the baseline's" in ruling.findings[1].message
    assert "--bench-record" in ruling.findings[1].message


def test_a_wrong_output_fails_however_fast_it_is(recorded: World) -> None:
    recorded.artifact["decoder"] = 0.05
    recorded.bend = lambda stage, run, value: value * 1.05 if stage == "decoder" else value
    found = recorded.bench().judge(DECODER).explain()
    assert found.startswith("decoder: what was timed computes something else on hello: decoder.audio: relative_l2 0.05")
    assert [finding.output for finding in run(recorded.bench(), "overall")] == ["decoder", "chain"]


def test_a_wrong_output_never_becomes_the_baseline(world: World) -> None:
    world.bend = lambda stage, run, value: value * 1.05 if stage == "decoder" else value
    bench = world.bench("record")
    assert [finding.output for finding in run(bench, "speed")] == ["decoder", "chain"]
    bench.record_baselines("")
    stored = find(world.folder / "golden/tiny", bench.machine)
    assert stored is not None
    assert list(stored.benchmark) == ["tiny-encoder-fp32-hello"]


def test_without_a_baseline_ratios_are_judged_and_the_command_is_told_once(world: World) -> None:
    bench = world.bench()
    assert run(bench, "speed", "overall") == []
    (note,) = bench.notes()
    assert note.startswith("no baseline for tiny on this machine (")
    assert (
        "judged by ratios to eager PyTorch. Record one while nothing else runs: pytest -m bench --bench-record" in note
    )
    world.artifact["decoder"] = 0.16
    assert [finding.output for finding in run(world.bench(), "speed", "overall")] == ["decoder", "chain"]


def test_the_baseline_of_another_machine_is_not_this_ones(recorded: World) -> None:
    folder, machine = recorded.folder / "golden/tiny", recorded.bench().machine
    text = path_of(folder, machine).read_text()
    other = {**machine, "processor": "Another processor"}
    path_of(folder, other).write_text(text.replace(str(machine["processor"]), "Another processor"))
    path_of(folder, machine).unlink()
    bench = recorded.bench()
    assert run(bench, "speed") == []
    assert "no baseline for tiny" in bench.notes()[0]


def test_a_machine_that_was_busy_for_a_while_is_no_regression(recorded: World) -> None:
    """The rounds of the first measurement are slow, and those of the second, which is longer, are not."""
    bench = recorded.bench()
    recorded.artifact["decoder"] = 0.16
    bench.measurements.timer("tiny").measured(bench.cases(recorded.system)[0])
    recorded.artifact["decoder"] = 0.10
    assert run(bench, "speed", "overall") == []


def test_a_quick_bench_measures_little_and_judges_by_ratios(recorded: World) -> None:
    bench = recorded.bench("quick")
    assert {one.kind for one in bench.plan()} == {"speed", "overall", "size", "complete"}
    assert run(bench, "speed", "overall", "size", "complete") == []
    (measured,) = bench.measurements.of(DECODER)
    assert measured.times.rounds < recorded.bench().measurements.of(DECODER)[0].times.rounds
    assert bench.notes()[0].startswith("quick: ")
    recorded.artifact["decoder"] = 0.14
    assert run(recorded.bench("quick"), "speed") == [], "the baseline is not asked"
    recorded.artifact["decoder"] = 0.16
    assert [finding.gate for finding in run(recorded.bench("quick"), "overall")] == ["stage_ratio", "chain_ratio"]


def test_systems_with_the_same_artifacts_are_timed_once(world: World) -> None:
    world.names = ("tiny", "twin")
    world.write(BUDGETS)
    bench = world.bench()
    said: list[str] = []
    bench.measurements.selected = bench.plan()
    bench.measurements.make(said.append)
    assert said[0].endswith("tiny, case hello and the same for twin")
    assert len(said) == 2
    ran = len(world.log)
    assert [bench.judge(one).passed for one in bench.plan() if one.kind == "speed"] == [True] * 6
    assert len(world.log) == ran
    assert [system.same_as for system in bench.record(False, {}).systems] == ["", "tiny"]


def test_the_cases_are_those_that_go_with_the_weights(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    made = world.workbench()
    reference = made.system.reference
    voiced = tuple(replace(case, inputs={**case.inputs, "voice": np.ones(1)}) for case in reference.cases)
    dressed = replace(made, system=replace(made.system, reference=replace(reference, cases=voiced)))
    monkeypatch.setattr(World, "workbench", lambda world, system="tiny": dressed)
    measurements = world.bench().measurements
    overall = Benchmark("overall", "tiny", "chain", "ships")
    one = replace(overall, kind="speed", case=voiced[0].name)
    for benchmark in (overall, one):
        assert all("voice" in case.inputs for case in measurements.cases_of(benchmark))
        assert measurements.cases_of(benchmark)


def test_an_exception_while_measuring_is_raised_for_what_needed_it(world: World) -> None:
    world.forgetful = True
    bench = world.bench()
    bench.measurements.selected = bench.plan()
    bench.measurements.make(lambda line: None)
    with pytest.raises(ValueError, match="tiny, case hello: the chain never ran decoder"):
        bench.judge(DECODER)
    assert run(bench, "load", "size") == []


def test_a_renamed_benchmark_fails_on_both_sides(recorded: World) -> None:
    path = path_of(recorded.folder / "golden/tiny", recorded.bench().machine)
    path.write_text(path.read_text().replace("tiny-decoder-fp32-hello", "tiny-vocoder-fp32-hello"))
    said = recorded.bench().judge(DECODER).explain()
    assert "the baseline of this machine has no tiny-decoder-fp32-hello: new or renamed?" in said
    left = run(recorded.bench(), "complete")
    assert [finding.message for finding in left] == [
        "the baseline has tiny-vocoder-fp32-hello, which nothing measures any more: if that is meant, "
        "pytest -m bench --bench-record takes it out"
    ]


def test_a_case_that_is_not_run_now_is_not_taken_for_a_renamed_one(recorded: World) -> None:
    bench = Bench(recorded.suite(cases="all"), mode="record", clock=recorded.clock)
    assert run(bench, "speed") == []
    bench.record_baselines("all cases")
    assert run(recorded.bench(), "complete") == []


def test_another_size_or_unit_is_no_baseline(recorded: World) -> None:
    path = path_of(recorded.folder / "golden/tiny", recorded.bench().machine)
    text = path.read_text()
    path.write_text(text.replace("frames = 12", "frames = 13"))
    said = recorded.bench().judge(DECODER).explain()
    assert "was measured at frames 13, this at frames 12: record it again" in said
    path.write_text(text.replace("× eager", "ms"))
    assert "is in ms, this in × eager" in recorded.bench().judge(DECODER).explain()


def test_a_baseline_of_too_few_samples_fails(recorded: World) -> None:
    bench = recorded.bench()
    bounds = bench.limits("tiny")
    assert bounds.baseline is not None
    few = {name: one.model_copy(update={"samples": one.samples[:1]}) for name, one in bounds.baseline.benchmark.items()}
    bench._limits["tiny"] = replace(bounds, baseline=bounds.baseline.model_copy(update={"benchmark": few}))
    assert "can show no regression, however large" in bench.judge(DECODER).explain()


def test_budgets_are_broken_by_what_is_too_slow_too_large_or_loads_too_long(recorded: World) -> None:
    recorded.artifact = {name: 1.7 * seconds for name, seconds in recorded.artifact.items()}
    recorded.load, recorded.bytes = 1.2, 5_000_000
    gates = [(finding.output, finding.gate) for finding in run(recorded.bench(), "overall", "load", "size")]
    assert gates == [
        ("encoder", "stage_ratio"),
        ("decoder", "stage_ratio"),
        ("chain", "chain_ratio"),
        ("encoder", "load_s"),
        ("decoder", "load_s"),
        ("encoder.fp32", "size_mb"),
        ("decoder.fp32", "size_mb"),
        ("bundle", "size_mb"),
    ]


def test_a_stage_that_cannot_be_loaded_fails_alone(recorded: World, monkeypatch: pytest.MonkeyPatch) -> None:
    load = SystemTimer.loads

    def loads(timer: SystemTimer, stage: Stage) -> tuple[float, ...]:
        if stage.name == "encoder":
            raise OSError("no such file")
        return load(timer, stage)

    monkeypatch.setattr(SystemTimer, "loads", loads)
    bench = recorded.bench()
    encoder, decoder = bench.measurements.selected = [one for one in bench.plan() if one.kind == "load"]
    bench.measurements.make(lambda line: None)
    with pytest.raises(OSError, match="no such file"):
        bench.measurements.loads(encoder)
    assert bench.measurements.loads(decoder) == (0.5, 0.5, 0.5)


def test_missing_budgets_fail_and_are_suggested(world: World) -> None:
    whole = world.folder / "golden/tiny/budgets.toml"
    text = whole.read_text()
    head = text[: text.index("chain_ratio")]
    whole.write_text(head + 'chain_ratio = { min = 0.5, max = 1.3, measured = 1.0, derived_from = "m" }')
    bench = world.bench()
    assert len(run(bench, "overall", "load", "size")) == 7
    pasted = [line for table, lines in bench.suggestions.items() for line in (f"[{table}]", *lines)]
    assert "[profile.any.stage_ratio]" in pasted
    whole.write_text("\n".join([whole.read_text(), *pasted]))
    assert run(world.bench(), "overall", "load", "size") == []
    assert run(world.bench(), "complete") == []


def test_without_any_budgets_everything_fails(world: World) -> None:
    (world.folder / "golden/tiny/budgets.toml").unlink()
    bench = world.bench()
    assert len(run(bench, "overall", "load", "size")) == len(
        [one for one in bench.plan() if one.kind in ("overall", "load", "size")]
    )
    assert "no device profile fits" in run(bench, "complete")[0].message
    assert all(table.startswith(("profile.NAME", "artifact", "bundle")) for table in bench.suggestions)


def test_an_empty_ruling_is_no_pass() -> None:
    assert not Result(()).passed
    assert "nothing was judged" in Result(()).explain()


DEVICE = """
[profile.mac]
about = "A Mac"
system = "SYSTEM"
runtime = "coreml"
source = "published"
rtfx = { min = 0.7, max = 1.8, measured = 0.92, derived_from = "m" }
chain_ms.12 = { min = 70.0, max = 170.0, measured = 130.0, derived_from = "m" }
stage_ms.decoder.12 = { min = 50.0, max = 130.0, measured = 100.0, derived_from = "m" }
[placement.decoder.fp32]
neural_engine_share = { min = 0.9, measured = 0.98, derived_from = "m" }
"""


def on_device(world: World) -> Bench:
    world.runtime = "coreml"
    bench = world.bench("record")
    world.write(DEVICE.replace("SYSTEM", str(bench.machine["system"])))
    bench.placement_of = lambda package, units: PLAN
    return bench


PLAN = Placement({"neural_engine": 90, "cpu": 10}, {"neural_engine": 0.8, "gpu": 0.0, "cpu": 0.2})


def test_on_a_device_absolute_times_and_rtfx_are_bounded(world: World) -> None:
    assert run(on_device(world), "speed", "overall") == []
    world.artifact["decoder"] = 0.16
    gates = [(found.output, found.gate) for found in run(on_device(world), "speed", "overall")]
    assert gates == [("decoder.12", "stage_ms"), ("chain.12", "chain_ms"), ("chain", "rtfx")]


def test_on_a_device_too_fast_is_no_pass(world: World) -> None:
    world.artifact["decoder"] = 0.03
    assert any("too good" in finding.message for finding in run(on_device(world), "speed"))


def test_a_device_without_a_profile_is_judged_by_its_baseline(world: World) -> None:
    bench = on_device(world)
    world.write(DEVICE.replace("SYSTEM", "Another"))
    assert run(bench, "speed") == []
    bench.record_baselines("")
    world.artifact["decoder"] = 0.14
    found = [finding.line() for finding in run(Bench(world.suite(), clock=world.clock), "speed")]
    assert found[0].startswith("decoder: slower: 1.40 × the baseline's 100 ms on hello")


def test_ops_that_leave_the_neural_engine_break_the_placement(world: World) -> None:
    bench = on_device(world)
    found = run(bench, "placement")
    assert ("decoder.fp32", "neural_engine_share") in [(one.output, one.gate) for one in found]
    assert any("no budget bounds it" in one.message and one.output == "encoder.fp32" for one in found)


def test_a_plan_that_estimates_nothing_is_no_pass(world: World) -> None:
    bench = on_device(world)
    bench.placement_of = lambda package, units: replace(PLAN, shares={})
    assert all("estimates no cost" in one.message for one in run(bench, "placement"))


def test_a_suggested_budget_holds_what_it_was_measured_on(world: World) -> None:
    world.write("[bundle]\nsize_mb = { min = 2.0, max = 4.0, measured = 3.0, derived_from = 'm' }")
    bench = world.bench()
    run(bench, "size")
    lines = [line for table, lines in bench.suggestions.items() for line in (f"[{table}]", *lines)]
    found: Budgets = budgets.parse("\n".join(lines), "pasted")
    assert found.by_name()["artifact.encoder.fp32.size_mb"].measured == 1.5
