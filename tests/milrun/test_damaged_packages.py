"""Whatever happens to a package, it runs or it is refused: no other error, no crash, no hang, no flood of memory."""

from __future__ import annotations

import json
import os
import selectors
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.milrun import zoo
from tests.milrun.damage import FILES, HOWS, MESSAGE, STRUCTURE, damage

EXAMPLES = int(os.environ.get("MILRUN_FUZZ_EXAMPLES", "300"))
SECONDS = 300
"""A hundred times what the longest example takes: a busy machine may give it no processor for a minute."""
ALLOWED = ("fine", "ModelError", "ValueError")


class Worker:
    """A process that tries damaged packages; a new one after it crashed or hung."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[str] | None = None

    def outcome(self, example: Any) -> str:
        if self.process is None:
            command = [sys.executable, "-m", "tests.milrun.damage", str(self.folder)]
            variables = os.environ | {"OMP_NUM_THREADS": "1"}
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables
            )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(example) + "\n")
        self.process.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            answered = selector.select(SECONDS)
        line = self.process.stdout.readline() if answered else ""
        if line:
            return str(json.loads(line))
        self.close()
        return "a crash" if answered else f"nothing within {SECONDS} seconds"

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    folder = tmp_path_factory.mktemp("zoo")
    zoo.build(folder)
    worker = Worker(folder)
    yield worker
    worker.close()


kinds = st.sampled_from([kind.__name__ for kind in zoo.KINDS])
# Damage to the message is the most telling: damage to its bytes mostly ends in the parser.
hows = st.one_of(st.just("field"), st.just("operations"), st.sampled_from(list(STRUCTURE)), st.sampled_from(HOWS))
damages = st.lists(st.tuples(hows, st.integers(0, 1 << 20), st.integers(0, 1 << 20)), min_size=1, max_size=3)


@pytest.mark.parametrize("kind", zoo.KINDS)
def test_an_undamaged_package_runs(worker: Worker, kind: Any) -> None:
    assert worker.outcome([kind.__name__, []]) == "fine"


@settings(
    max_examples=EXAMPLES,
    database=None,
    derandomize="MILRUN_FUZZ_EXAMPLES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
@given(kind=kinds, damages=damages)
def test_a_damaged_package_runs_or_is_refused(worker: Worker, kind: str, damages: Any) -> None:
    outcome = worker.outcome([kind, damages])
    assert outcome in ALLOWED, f"{kind} after {damages}: {outcome}"


@pytest.mark.parametrize("how", [*MESSAGE, *STRUCTURE, "truncate model", "truncate manifest", "flip header"])
def test_damage_is_done_and_felt(worker: Worker, how: str) -> None:
    """Else the test above would pass on packages that nothing has touched."""
    outcomes = {worker.outcome([zoo.conv.__name__, [[how, 7 * number, 11 * number]]]) for number in range(1, 13)}
    assert "ModelError" in outcomes


@pytest.mark.parametrize("file", ["model", "weights", "manifest"])
@pytest.mark.parametrize("how", ["flip", "truncate", "insert"])
def test_damage_stays_within_the_package(worker: Worker, tmp_path: Path, how: str, file: str) -> None:
    """A link that one damage put in place leads to files of the machine, which the next damage would write to."""
    package = tmp_path / "m.mlpackage"
    shutil.copytree(worker.folder / f"{zoo.conv.__name__}.mlpackage", package)
    own = next(package.rglob(FILES[file]))
    outside = tmp_path / "outside"
    own.rename(outside)
    own.symlink_to(outside)
    before = outside.read_bytes()
    damage(package, f"{how} {file}", 11, 7)
    assert outside.read_bytes() == before
