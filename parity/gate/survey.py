"""Survey of a revision: its checks and everything that makes them. Revisions are compared by their surveys.

A survey is taken by the code that it is about, in a process of its own; see `parity.gate.take_survey`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

SCHEMA = 2
SECONDS = 900

Parts = Mapping[str, Any]


class SurveyError(Exception):
    """A revision that doesn't say what it would check."""


@dataclass(frozen=True)
class Surveyed:
    """A check: the parts of its evidence key, the keys of its artifacts, and the gates by family of outputs.

    `families` maps each output to its family where the names differ: the gates of `cache*` judge `cache0_out`.
    `fault` says why the parts cannot be determined.
    """

    system: str
    stage: str
    variant: str
    case: str
    mode: str
    parts: Parts
    artifacts: Mapping[str, str]
    gates: Mapping[str, Mapping[str, str]]
    families: Mapping[str, str] = field(default_factory=dict)
    fault: str = ""


@dataclass(frozen=True)
class Survey:
    """`artifacts` has what makes each of them, by key; `glue` the code of each system's chain. `problems` are faults of
    goldens, gates and budgets that no check of a short run would meet."""

    root: str
    checks: Mapping[str, Surveyed]
    artifacts: Mapping[str, Parts]
    glue: Mapping[str, Parts]
    budgets: Mapping[str, Mapping[str, str]]
    problems: tuple[str, ...]


def encode(survey: Survey) -> str:
    """Return the survey in one line."""
    return json.dumps({"schema": SCHEMA, **asdict(survey)}, ensure_ascii=True, allow_nan=False)


def decode(text: str) -> Survey:
    try:
        data = json.loads(text)
        if (schema := data.pop("schema")) != SCHEMA:
            raise ValueError(f"it has schema {schema!r}, this is schema {SCHEMA}")
        checks = {id: Surveyed(**check) for id, check in data.pop("checks").items()}
        survey = Survey(**{**data, "checks": checks, "problems": tuple(data["problems"])})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise SurveyError(f"it gives no survey that this version can read: {error}") from error
    if not survey.checks:
        raise SurveyError("it has nothing to check")
    return survey


def ask(root: Path) -> Survey:
    """Return the survey of the project at `root`, by its own code."""
    command = [sys.executable, "-m", "parity", "fingerprints", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    try:
        run = subprocess.run(
            command, cwd=root, env=environment, capture_output=True, text=True, errors="replace", timeout=SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SurveyError(f"`python -m parity fingerprints` did not end: {error}") from error
    if run.returncode:
        raise SurveyError(f"`python -m parity fingerprints` ended with {run.returncode}: {_last_line(run.stderr)}")
    survey = decode(_last_line(run.stdout))
    if Path(survey.root).resolve() != root.resolve():
        raise SurveyError(f"other code than its own answered: that of {survey.root}")
    return survey


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it said nothing")
