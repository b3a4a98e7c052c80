"""Runs tests in several pytest processes, and goes on after one that dies."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.conformance import records
from tests.conformance.records import FAILED, Record

PROJECT = Path(__file__).parents[2]
_LARGEST_CHUNK, _SMALLEST_CHUNK = 1000, 40
_START_LIMIT = 300.0
_SILENT = "no answer"


@dataclass
class Settings:
    """What every pytest process is started with."""

    root: Path
    out: Path
    time_limit: float = 60.0
    bounds: Path | None = None
    bare: bool = False
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def results(self) -> Path:
        return self.out / "results.jsonl"

    def command(self, paths: Iterable[str], *options: str) -> list[str]:
        plugins = ["-p", "tests.conformance.plugin"]
        for name in ("cacheprovider", "benchmark", "xdist", "hypothesispytest", "randomly"):
            plugins += ["-p", f"no:{name}"]
        command = [sys.executable, "-m", "pytest", "-c", str(Path(__file__).with_name("suites.ini"))]
        command += ["--rootdir", str(self.root), "--confcutdir", str(self.root), *plugins]
        command += ["-q", "--tb=short", "--continue-on-collection-errors", *options]
        if self.bare:
            command.append("--conformance-bare")
        if self.bounds:
            command += ["--conformance-bounds", str(self.bounds)]
        return [*command, *(str(self.root / path) for path in paths)]

    def run(self, command: list[str], scratch: Path, log: Path) -> subprocess.Popen[bytes]:
        """Start a process in an empty folder of its own, which also takes its temporary files."""
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        environment = os.environ | self.environment | {"TMPDIR": str(scratch), "PYTHONPATH": str(PROJECT)}
        with log.open("wb") as output:
            return subprocess.Popen(
                command, cwd=scratch, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )


@dataclass
class Chunk:
    """Tests for one process."""

    ids: list[str]
    fruitless_starts: int = 0


def chunks_of(ids: list[str], shards: int) -> list[Chunk]:
    """Neighbours together, so that a process collects few files; several chunks per shard, so that all end together."""
    size = min(max(-(-len(ids) // (shards * 2)), _SMALLEST_CHUNK), _LARGEST_CHUNK)
    return [Chunk(ids[start : start + size]) for start in range(0, len(ids), size)]


class Shards:
    """A queue of chunks and a thread per process."""

    def __init__(self, settings: Settings, ids: list[str], shards: int) -> None:
        self.settings = settings
        self.chunks: queue.SimpleQueue[Chunk] = queue.SimpleQueue()
        for chunk in chunks_of(ids, shards):
            self.chunks.put(chunk)
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(shards)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def alive(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _work(self, number: int) -> None:
        while not self._stopping.is_set():
            try:
                chunk = self.chunks.get_nowait()
            except queue.Empty:
                return
            # The rest of a chunk stays with this thread: another one may have found the queue empty and ended.
            rest: Chunk | None = chunk
            while rest is not None and not self._stopping.is_set():
                rest = self._run(number, rest)

    def _run(self, number: int, chunk: Chunk) -> Chunk | None:
        """Run a chunk; the part of it still to be run if the process died on the way."""
        out = self.settings.out
        scratch, log = out / "scratch" / f"worker-{number}", out / f"worker-{number}.log"
        selection, current = out / f"worker-{number}.ids", out / f"worker-{number}.current"
        selection.write_text("".join(test_id + "\n" for test_id in chunk.ids))
        current.write_text("")
        options = ["--conformance-select", str(selection), "--conformance-results", str(self.settings.results)]
        options += ["--conformance-current", str(current), "--timeout", str(self.settings.time_limit)]
        files = dict.fromkeys(test_id.partition("::")[0] for test_id in chunk.ids)
        process = self.settings.run(self.settings.command(files, *options), scratch, log)
        try:
            died = self._wait(process, current)
        finally:
            kill(process)
            shutil.rmtree(scratch, ignore_errors=True)
        if self._stopping.is_set():
            return None
        culprit = current.read_text()
        selection.unlink()
        current.unlink()
        done = records.latest(self.settings.results)
        left = [test_id for test_id in chunk.ids if test_id not in done]
        if culprit in left:
            self._record(culprit, f"crashed: {died}")
            left.remove(culprit)
            return Chunk(left) if left else None
        if len(left) < len(chunk.ids):
            return Chunk(left) if left else None
        if chunk.fruitless_starts == 0:
            return Chunk(left, 1)
        # A machine too busy to start a process says nothing about the tests: they stay without a result, for --resume.
        if not died.startswith(_SILENT):
            for test_id in left:
                self._record(test_id, f"never started ({died}): see {log.name}")
        log.rename(log.with_suffix(".failed.log"))
        return None

    def _record(self, test_id: str, reason: str) -> None:
        records.append(self.settings.results, Record(test_id, FAILED, reason=reason, error="crashed"))

    def _wait(self, process: subprocess.Popen[bytes], current: Path) -> str:
        """Wait for the end of a process, or end it when it hangs; in words, how it ended."""
        patience = 3 * self.settings.time_limit + 30
        while not self._stopping.is_set():
            try:
                code = process.wait(timeout=0.5)
                return f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit status {code}"
            except subprocess.TimeoutExpired:
                status = current.stat()
            if time.time() - status.st_mtime > (patience if status.st_size else _START_LIMIT):
                return f"{_SILENT} in {time.time() - status.st_mtime:.0f} s"
        return "stopped"


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process we started, with all it started."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
