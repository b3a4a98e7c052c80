"""The workflow of the gate: what it calls is there, and what it may do is little."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from parity.__main__ import _parser
from parity.gate.report import Written

ROOT = Path(__file__).parents[2]
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/gate.yml").read_text(encoding="utf-8"))
JOBS = WORKFLOW["jobs"]


def steps(job: str) -> list[dict[str, Any]]:
    return list(JOBS[job]["steps"])


def commands(job: str) -> list[str]:
    return [line for step in steps(job) for line in step.get("run", "").splitlines()]


def test_it_runs_for_what_is_to_be_merged_and_for_what_was() -> None:
    triggers = WORKFLOW[True]  # YAML takes the key `on` for a truth value
    assert set(triggers) == {"pull_request", "push"}
    assert triggers["push"] == {"branches": ["main"]}


def test_it_may_read_and_nothing_else() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert not any("permissions" in job for job in JOBS.values())
    assert WORKFLOW["concurrency"]["group"]


@pytest.mark.parametrize("job", JOBS)
def test_its_actions_are_pinned_and_the_whole_history_is_there(job: str) -> None:
    used = [step["uses"] for step in steps(job) if "uses" in step]
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", name) for name in used)
    checkout = next(step for step in steps(job) if step.get("uses", "").startswith("actions/checkout"))
    assert checkout["with"]["fetch-depth"] == 0
    assert JOBS[job]["timeout-minutes"]


@pytest.mark.parametrize("job", JOBS)
def test_no_word_of_others_is_pasted_into_a_command(job: str) -> None:
    assert not any("${{" in line for line in commands(job))


@pytest.mark.parametrize("job", JOBS)
def test_its_make_targets_are_there(job: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    wanted = {line.split()[1] for line in commands(job) if line.startswith("make ")}
    assert wanted
    assert wanted <= targets


def test_the_gate_is_called_as_it_wants_to_be() -> None:
    (line,) = [line for line in commands("linux") if " -m parity " in line]
    arguments = shlex.split(line.partition(" -m parity ")[2])
    assert _parser().parse_args(arguments).base == "$BASE"
    assert "github.event.before" in JOBS["linux"]["env"]["BASE"]


@pytest.mark.parametrize("job", JOBS)
def test_no_failing_step_is_waved_through(job: str) -> None:
    assert not any("continue-on-error" in step for step in [JOBS[job], *steps(job)])
    assert not any("|| true" in line for line in commands(job))
    conditional = [step for step in steps(job) if "if" in step]
    assert all(step["if"] == "always()" for step in conditional)


@pytest.mark.parametrize("job", JOBS)
def test_what_was_found_is_shown_and_kept_even_when_it_failed(job: str) -> None:
    upload = next(step for step in steps(job) if step.get("uses", "").startswith("actions/upload-artifact"))
    assert ".parity/runs" in upload["with"]["path"]
    assert upload["with"]["include-hidden-files"] is True, ".parity is hidden"
    assert any("GITHUB_STEP_SUMMARY" in line for line in commands(job))


def test_the_summary_is_the_file_that_the_gate_writes() -> None:
    path = Written.below(Path()).markdown.as_posix()
    assert any(path in line for line in commands("linux"))
