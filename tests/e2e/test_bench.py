"""`pytest -m bench`, as a user runs it: what it prints and keeps, and when it refuses to measure."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from parity.bench import record
from tests.support.bench_project import Project

pytest_plugins = ["pytester"]
ROOT = Path(__file__).parents[2]
COUNT = 11
"""Three speeds, three of all cases, two loads, three sizes; and that nothing is left out, which always passes here."""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    return Project(pytester, monkeypatch)


@pytest.fixture
def recorded(project: Project) -> Project:
    result = project.run("--bench-record")
    assert result.ret == 0
    return project


def test_a_bench_is_recorded_once_and_then_held(project: Project) -> None:
    first = project.run()
    first.assert_outcomes(passed=COUNT + 1)
    assert first.stdout.str().count("--bench-record") == 1
    first.stderr.fnmatch_lines(["bench: timing 1 of 1, about * left: tiny, case hello", "bench: timed 1 in *"])
    first.stdout.fnmatch_lines(["no baseline for tiny on this machine*: judged by ratios to eager PyTorch.*"])
    recording = project.run("--bench-record")
    recording.assert_outcomes(passed=COUNT + 1)
    recording.stdout.fnmatch_lines(["baseline: tiny-decoder-fp32-hello: new, 1.25 × eager"])
    held = project.run()
    held.assert_outcomes(passed=COUNT + 1)
    assert "no baseline" not in held.stdout.str()
    held.stdout.fnmatch_lines(
        ["  case   T_enc  audio s  rounds  chain ms  RTFx  × eager  encoder  decoder", "bench passed  ✓ 12"]
    )


def test_a_quick_bench_says_that_it_is_one(project: Project) -> None:
    result = project.run("--quick")
    result.assert_outcomes(passed=COUNT - 1)
    result.stdout.fnmatch_lines(["quick: a few rounds, judged by ratios*", "bench passed*(a part of the bench:*"])
    project.bend(seconds=0.18)
    assert project.run("--quick").ret == 1
    assert project.run("--quick", "--bench-record").ret == pytest.ExitCode.USAGE_ERROR


def test_a_regression_fails_the_run_and_is_told(recorded: Project) -> None:
    recorded.bend(seconds=0.18)
    result = recorded.run()
    assert result.ret == 1
    result.stdout.fnmatch_lines(["✗ slower: 1.80 × the baseline's 1.25 × eager on hello*", "bench FAILED*"])


def test_a_baseline_is_not_replaced_without_a_reason(recorded: Project) -> None:
    recorded.bend(seconds=0.18)
    refused = recorded.run("--bench-record")
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    refused.stderr.fnmatch_lines(["*tiny has a baseline of this machine: say why it changes, with --bench-reason*"])
    recorded.run("--bench-record", "--bench-reason", "the decoder grew")
    recorded.run("-k", "speed or load").assert_outcomes(passed=5)


def test_a_reason_without_recording_is_refused(project: Project) -> None:
    assert project.run("--bench-reason", "because").ret == pytest.ExitCode.USAGE_ERROR


def test_a_fast_artifact_that_computes_something_else_fails(recorded: Project) -> None:
    recorded.bend(seconds=0.05, factor=1.05)
    result = recorded.run()
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*what was timed computes something else on hello*"])


def test_a_renamed_benchmark_fails_the_run(recorded: Project) -> None:
    (path,) = recorded.world.folder.glob("golden/tiny/bench-*.toml")
    path.write_text(path.read_text().replace("tiny-chain-ships-hello", "tiny-speech-ships-hello"))
    result = recorded.run()
    result.assert_outcomes(passed=COUNT - 1, failed=2)
    result.stdout.fnmatch_lines(["*has no tiny-chain-ships-hello: new or renamed?*"])
    result.stdout.fnmatch_lines(["*has tiny-speech-ships-hello, which nothing measures any more*"])


def test_with_other_workers_beside_it_nothing_is_measured(recorded: Project) -> None:
    result = recorded.run("-p", "xdist", "-n", "1", "-k", "chain")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*the bench needs the machine to itself*leave out -n*"])
    result.assert_outcomes(failed=2)


def test_disabled_benchmarks_are_no_pass(recorded: Project) -> None:
    result = recorded.run("--benchmark-disable", "-k", "speed or load")
    result.assert_outcomes(failed=5)
    result.stdout.fnmatch_lines(["*leave out -n and --benchmark-disable*"])


def test_skipped_benchmarks_are_no_pass(recorded: Project) -> None:
    result = recorded.run("--benchmark-skip", "-k", "speed or load")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*was skipped, and so it measured nothing*", "bench FAILED*"])


def test_a_part_of_the_bench_is_said_to_be_one(recorded: Project) -> None:
    result = recorded.run("-k", "decoder-fp32-hello")
    result.assert_outcomes(passed=1, deselected=COUNT)
    result.stdout.fnmatch_lines(["bench passed  ✓ 1  (a part of the bench: this is not the full verdict)"])


def test_what_was_found_is_kept_beside_the_run(recorded: Project) -> None:
    found = record.load(recorded.kept)
    assert found.passed
    assert not found.partial
    assert [one.case for one in found.systems[0].cases] == ["hello"]
    assert found.systems[0].cases[0].stage_ms["decoder"] == pytest.approx(100)
    assert found.systems[0].artifacts[0].load_s == 0.5


def test_pytest_benchmark_compares_the_json_of_two_runs(recorded: Project) -> None:
    paths = [Path("before.json").absolute(), Path("after.json").absolute()]
    for path, seconds in zip(paths, (0.10, 0.18), strict=True):
        recorded.bend(seconds=seconds)
        recorded.run(f"--benchmark-json={path}")
    (kept,) = [
        one for one in json.loads(paths[1].read_text())["benchmarks"] if one["name"].endswith("decoder-fp32-hello")
    ]
    assert kept["stats"]["median"] == pytest.approx(0.18)
    assert kept["stats"]["rounds"] == len(kept["stats"]["data"])
    assert kept["extra_info"]["ratio_to_eager"] == pytest.approx(2.25)
    assert kept["extra_info"]["T_enc"] == 12
    program = Path(sys.executable).with_name("pytest-benchmark")
    command = [str(program), "compare", *map(str, paths), "--columns=median"]
    compared = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    rows = [line for line in compared.splitlines() if "tiny-decoder-fp32-hello" in line]
    assert [line.split()[2] for line in rows] == ["100.0000", "180.0000"]


def test_the_json_is_kept_beside_the_run_unless_it_is_wanted_elsewhere(recorded: Project) -> None:
    found = json.loads((recorded.kept / "benchmark.json").read_text())
    assert len(found["benchmarks"]) == 5


def test_without_its_extra_one_line_names_it(project: Project) -> None:
    result = project.run("-p", "no:benchmark")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.stderr.lines == [
        "ERROR: -m bench needs pytest-benchmark: install it, or coreml-parity with its extra `bench`",
        "",
    ]


def test_only_who_asks_for_the_bench_gets_it(project: Project) -> None:
    project.pytester.makepyfile("def test_mine():\n    pass\n")
    assert project.pytester.runpytest_inprocess("-q", "-m", "not parity").parseoutcomes() == {"passed": 1}
    chosen = project.run("port.py", "-k", "size or load")
    chosen.assert_outcomes(passed=5, deselected=COUNT - 4)
    folder = project.pytester.mkdir("bench")
    for arguments in (("-m", "bench", folder), (folder,)):
        lost = project.pytester.runpytest_inprocess(*arguments)
        assert lost.ret == pytest.ExitCode.NO_TESTS_COLLECTED
        lost.stdout.fnmatch_lines(
            ["*run pytest without a path, or with theirs, and with -m parity, -m bench or -m speech"]
        )
