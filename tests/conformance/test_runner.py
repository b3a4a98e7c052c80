"""The runner itself, on tiny suites that pretend to make predictions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.__main__ import fraction, main, sampled
from tests.conformance.shards import Settings

PREDICT = """
import os, pathlib, signal, tempfile, time
import pytest
from tests.conformance import watch

def predict():
    watch.sighting.predictions += 1
    watch.sighting.ops.add("relu")
"""
GOOD = "def test_good():\n    predict()\n"
BAD = "def test_bad():\n    predict()\n    assert 1 == 2\n"
IDLE = "def test_idle():\n    pass\n"

Runner = Callable[..., int]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def run(tmp_path: Path, out: Path) -> Runner:
    def run(*tests: str, known: str = "", bounds: str = "", options: tuple[str, ...] = ()) -> int:
        root = tmp_path / "root"
        root.mkdir(exist_ok=True)
        if tests:
            (root / "test_fake.py").write_text(PREDICT + "\n".join(tests))
        files = {"known": known, "bounds": bounds}
        for name, content in files.items():
            (tmp_path / f"{name}.toml").write_text(content)
        given = [part for name in files for part in (f"--{name}", str(tmp_path / f"{name}.toml"))]
        return main(["--root", str(root), "--out", str(out), "--bare", "--shards", "1", *given, *options])

    return run


def summary(out: Path) -> Any:
    return json.loads((out / "summary.json").read_text())


def entry(test_id: str, table: str = "known", more: str = "") -> str:
    return f'[[{table}]]\nid = "{test_id}"\nreason = "because"\n{more}\n'


def test_a_passing_suite_passes(run: Runner, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(GOOD, IDLE) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1 passed, 0 failed, 1 skipped"
    found = summary(out)
    assert found["ops"] == {"relu": {"passed": 1}}
    assert found["reasons"] == {"no prediction": 1}


def test_a_failing_test_fails_the_run(run: Runner, out: Path) -> None:
    assert run(GOOD, BAD) == 1
    (failure,) = summary(out)["failures"]
    assert failure["id"] == "test_fake.py::test_bad"
    assert "assert 1 == 2" in failure["trace"]


def test_a_known_failure_does_not(run: Runner, out: Path) -> None:
    assert run(GOOD, BAD, known=entry("test_fake.py::test_b*")) == 0
    assert summary(out)["known_failed"] == 1


@pytest.mark.parametrize("stale", ["test_fake.py::test_good", "test_fake.py::test_gone"])
def test_a_stale_entry_fails_the_run(run: Runner, out: Path, stale: str) -> None:
    assert run(GOOD, known=entry(stale)) == 1
    (fault,) = summary(out)["faults"]
    assert fault.startswith(f"stale entry: {stale}")


def test_an_entry_of_a_file_that_was_not_collected_is_left_alone(run: Runner) -> None:
    assert run(GOOD, known=entry("elsewhere/test_other.py::test_gone")) == 0


def test_a_wider_bound_without_need_fails_the_run(run: Runner, out: Path) -> None:
    assert run(GOOD, bounds=entry("test_fake.py::test_good", "wider", "factor = 99")) == 1
    assert summary(out)["faults"] == ["stale entry: test_fake.py::test_good needs no wider bound"]


def test_a_run_without_predictions_fails(run: Runner, out: Path) -> None:
    assert run(IDLE) == 1
    assert summary(out)["faults"] == ["no test executed"]


def test_an_exception_before_any_prediction_is_not_a_failure(run: Runner, out: Path) -> None:
    assert run(GOOD, "def test_converts():\n    raise KeyError('converter')\n") == 0
    assert summary(out)["reasons"] == {"raised before any prediction: KeyError: 'converter'": 1}


def test_a_refusal_to_load_is_a_failure(run: Runner) -> None:
    refused = "def test_refused():\n    watch.sighting.errors.append('ModelError')\n    raise ValueError\n"
    assert run(GOOD, refused) == 1


def test_what_the_suite_expects_to_fail_runs_on_and_counts_when_it_passes(run: Runner, out: Path) -> None:
    fixed = "def test_fixed():\n    pytest.xfail('elsewhere')\n    predict()\n"
    broken = "def test_broken():\n    pytest.xfail('elsewhere')\n    predict()\n    assert False\n"
    assert run(fixed, broken) == 0
    assert (summary(out)["passed"], summary(out)["xfailed"]) == (1, 1)


def test_resume_runs_only_what_has_no_result(run: Runner, out: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    tests = [f"def test_{n}():\n    predict()\n    open({str(log)!r}, 'a').write('{n}')\n" for n in range(3)]
    assert run(*tests) == 0
    assert log.read_text() == "012"
    results = out / "results.jsonl"
    lines = results.read_text().splitlines()
    results.write_text(f"{lines[0]}\n{lines[1][:40]}")  # the second line is torn, the third was never written
    assert run(options=("--resume",)) == 0
    assert log.read_text() == "01212"
    assert run(options=("--resume",)) == 0
    assert log.read_text() == "01212"
    assert summary(out)["passed"] == 3


def test_a_crash_is_recorded_and_the_rest_still_runs(run: Runner, out: Path) -> None:
    crash = "def test_crash():\n    predict()\n    os.kill(os.getpid(), signal.SIGSEGV)\n"
    assert run(GOOD, crash, "def test_later():\n    predict()\n") == 1
    found = summary(out)
    assert found["passed"] == 2
    assert [f["reason"] for f in found["failures"]] == ["crashed: signal 11 (SIGSEGV)"]


def test_tests_whose_process_does_not_start_in_time_have_no_result(
    run: Runner, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = Settings.command

    def asleep(settings: Settings, paths: Iterable[str], *options: str) -> list[str]:
        return ["sleep", "600"] if "--conformance-select" in options else command(settings, paths, *options)

    with monkeypatch.context() as patch:
        patch.setattr("tests.conformance.shards._START_LIMIT", 0.0)
        patch.setattr(Settings, "command", asleep)
        assert run(GOOD, BAD) == 1
    assert "2 tests have no result" in " ".join(summary(out)["faults"])
    assert run(options=("--resume",)) == 1
    assert (summary(out)["passed"], summary(out)["failed"]) == (1, 1)


def test_a_test_over_the_time_limit_fails(run: Runner, out: Path) -> None:
    slow = "def test_slow():\n    predict()\n    time.sleep(60)\n"
    assert run(GOOD, slow, options=("--time-limit", "0.5")) == 1
    assert "Timeout" in summary(out)["failures"][0]["reason"]


def test_temporary_files_are_gone_after_each_test(run: Runner, out: Path) -> None:
    litter = "folder = []\ndef test_litter():\n    predict()\n    folder.append(tempfile.mkdtemp())\n"
    clean = "def test_clean():\n    predict()\n    assert folder and not pathlib.Path(folder[0]).exists()\n"
    assert run(litter, clean) == 0
    assert not (out / "scratch").exists()


def test_async_tests_run(run: Runner) -> None:
    assert run("async def test_async():\n    predict()\n    assert False\n") == 1


def test_neural_networks_are_left_out(run: Runner, out: Path) -> None:
    marked = "@pytest.mark.parametrize('backend', [('mlprogram', 'fp16'), ('neuralnetwork', 'fp32')])\n"
    assert run(marked + "def test_both(backend):\n    predict()\n") == 0
    assert (out / "collected.ids").read_text() == "test_fake.py::test_both[backend=mlprogram-fp16]\n"


def test_a_file_that_cannot_be_imported_is_reported(run: Runner, out: Path, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "test_broken.py").write_text("import no_such_package\n")
    assert run(GOOD) == 0
    assert "no_such_package" in summary(out)["not_collected"]["test_broken.py"]


def test_a_sample_is_always_the_same() -> None:
    ids = [f"test_{n}" for n in range(3000)]
    assert fraction("1/30") == 30
    chosen = [test_id for test_id in ids if sampled(test_id, 30)]
    assert 60 < len(chosen) < 140
    assert chosen == [test_id for test_id in ids if sampled(test_id, 30)]
