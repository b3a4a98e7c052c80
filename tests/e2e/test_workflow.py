"""Tests of CI: its script runs every step and fails if one fails; its workflows may do little and call what exists."""

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from parity.gate.report import Written

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / ".ci/run"
WORKFLOWS = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in (ROOT / ".github/workflows").iterdir()
}
JOBS = {f"{name}.{job}": body for name, flow in WORKFLOWS.items() for job, body in flow["jobs"].items()}
GATES = ["gate.linux", "gate.macos"]


def steps(job: str) -> list[dict[str, Any]]:
    return list(JOBS[job]["steps"])


def commands(job: str) -> list[str]:
    return [line for step in steps(job) for line in step.get("run", "").splitlines()]


def triggers(name: str) -> Any:
    return WORKFLOWS[name][True]  # YAML takes the key `on` for a truth value


def test_the_gate_runs_for_pull_requests_and_for_what_was_merged() -> None:
    assert set(triggers("gate")) == {"pull_request", "push"}
    assert triggers("gate")["push"] == {"branches": ["main"]}


def test_a_release_is_made_of_a_tag_alone() -> None:
    assert triggers("release") == {"push": {"tags": ["v*"]}}


def test_workflows_may_read_and_only_publishing_may_identify_itself() -> None:
    for flow in WORKFLOWS.values():
        assert flow["permissions"] == {"contents": "read"}
        assert flow["concurrency"]["group"]
    asked = {job: body["permissions"] for job, body in JOBS.items() if "permissions" in body}
    assert asked == {"release.publish": {"id-token": "write"}}


def test_no_secret_is_used() -> None:
    for path in (ROOT / ".github/workflows").iterdir():
        assert "secrets." not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("job", JOBS)
def test_actions_are_pinned_and_jobs_end(job: str) -> None:
    used = [step["uses"] for step in steps(job) if "uses" in step]
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+|pypa/gh-action-pypi-publish@release/v1", name) for name in used)
    assert JOBS[job]["timeout-minutes"]


@pytest.mark.parametrize("job", [*GATES, "release.build"])
def test_the_whole_history_is_there_and_no_credentials_stay(job: str) -> None:
    checkout = next(step for step in steps(job) if step.get("uses", "").startswith("actions/checkout"))
    assert checkout["with"] == {"fetch-depth": 0, "persist-credentials": False}


@pytest.mark.parametrize("job", JOBS)
def test_no_word_of_others_is_pasted_into_a_command(job: str) -> None:
    assert not any("${{" in line for line in commands(job))


@pytest.mark.parametrize("job", JOBS)
def test_make_targets_exist(job: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {line.split()[1] for line in commands(job) if line.startswith("make ")} <= targets


def test_the_gate_compares_with_the_revision_that_the_workflow_names() -> None:
    assert ".ci/run" in commands("gate.linux")
    assert "github.event.before" in JOBS["gate.linux"]["env"]["BASE"]
    assert "base=${BASE:-HEAD~1}" in SCRIPT.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("job", JOBS)
def test_no_failing_step_is_waved_through(job: str) -> None:
    assert not any("continue-on-error" in step for step in [JOBS[job], *steps(job)])
    assert not any("|| true" in line for line in commands(job))
    assert all(step["if"] == "always()" for step in steps(job) if "if" in step)


@pytest.mark.parametrize("job", GATES)
def test_findings_are_shown_and_kept_even_when_a_job_failed(job: str) -> None:
    upload = next(step for step in steps(job) if step.get("uses", "").startswith("actions/upload-artifact"))
    assert ".parity/runs" in upload["with"]["path"]
    assert upload["with"]["include-hidden-files"] is True, ".parity is hidden"
    assert any("GITHUB_STEP_SUMMARY" in line for line in commands(job))


def test_the_summary_is_the_file_that_the_gate_writes() -> None:
    path = Written.below(Path()).markdown.as_posix()
    assert any(path in line for line in commands("gate.linux"))


class Stubs:
    """A checkout in which every command of CI is a stub that notes how it was called."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.calls = folder, folder / "calls"
        (folder / ".ci").mkdir()
        (folder / ".ci/run").write_bytes(SCRIPT.read_bytes())
        for name in ("make", "chromium", "espeak-ng", ".venv/bin/python"):
            path = folder / (name if "/" in name else f"bin/{name}")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(
                f'#!/bin/sh\necho "{Path(name).name} $*" >> {self.calls}\necho "ran $*"\n'
                'case "$*" in *"$FAILING"*) exit 3;; esac\n'
            )
            path.chmod(0o755)
        subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)

    def run(self, failing: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        command = ["bash", str(self.folder / ".ci/run")]
        environment = {**os.environ, "PATH": path, "FAILING": failing}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_ci_passes_if_every_step_passes_and_says_how_long_each_took(tmp_path: Path) -> None:
    stubs = Stubs(tmp_path)
    finished = stubs.run(failing="none of them")
    assert finished.returncode == 0, finished.stdout
    table = finished.stdout.partition(" result\n")[2].splitlines()
    assert all(re.fullmatch(r"[a-z0-9 ]+ \d+  passed", line) for line in table[:-1])
    assert re.fullmatch(r"total +\d+", table[-1])
    calls = stubs.calls.read_text(encoding="utf-8").splitlines()
    assert "python -m parity gate --base HEAD" in calls, "without a parent, the gate compares with HEAD"
    for suite in ("make parity", "make unit", "make speech", "make lint", "make extra-sortformer"):
        assert suite in calls


@pytest.mark.parametrize("failing", ["lint", "golden verify", "parity gate", "speech", "unit"])
def test_ci_fails_if_one_step_fails_and_runs_the_others(tmp_path: Path, failing: str) -> None:
    stubs = Stubs(tmp_path)
    finished = stubs.run(failing)
    assert finished.returncode == 1
    assert len(re.findall(r"FAILED \(exit code [23]\)", finished.stdout)) == 1
    assert "make unit" in stubs.calls.read_text(encoding="utf-8")


def test_the_release_workflow_builds_what_it_publishes() -> None:
    build, publish = JOBS["release.build"], JOBS["release.publish"]
    kept = next(step["with"] for step in build["steps"] if "upload-artifact" in step.get("uses", ""))
    taken = next(step["with"] for step in publish["steps"] if "download-artifact" in step.get("uses", ""))
    assert kept["name"] == taken["name"]
    assert publish["needs"] == "build"
    assert shlex.split(next(step["run"] for step in build["steps"] if "run" in step))[0] == "make"
