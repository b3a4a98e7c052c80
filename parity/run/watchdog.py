"""The parent's end of a child process: asks, waits as long as it is allowed to, and kills what hangs."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal

from parity.declarations import Arrays
from parity.run.pipe import Message, receive, send
from parity.run.runtime import RuntimeFailure

Ending = Literal["hung", "died", "raised"]

_START = [sys.executable, "-P", "-c", "import sys; from parity.run import child; child.serve(sys.argv[1])"]
_SECONDS_TO_LEAVE = 5.0
_TAIL_BYTES = 1 << 13
_TAIL_LINES = 12


@dataclass(frozen=True)
class Limits:
    """Seconds after which a child is taken to hang. Compiling for the Neural Engine takes a minute where it works.

    `grace` is how much longer a child gives a parent that does not end it, before it ends itself.
    """

    load: float = 600.0
    run: float = 300.0
    grace: float = 10.0

    def __post_init__(self) -> None:
        for name, seconds in asdict(self).items():
            if not (seconds > 0 and math.isfinite(seconds)):
                raise ValueError(f"the limit {name} is {seconds} seconds: it must be positive and finite")


class Watched:
    """A service in a child process of its own. One call at a time; one that hangs or dies is the last."""

    def __init__(
        self,
        loader: str,
        arguments: Mapping[str, Any],
        *,
        subject: str,
        mends: Mapping[Ending, str],
        limits: Limits = Limits(),
    ) -> None:
        self.limits = limits
        self._subject, self._mends = subject, mends
        self._lock = threading.Lock()
        self._scratch = tempfile.mkdtemp(prefix="parity-")
        try:
            self._process = subprocess.Popen(
                [*_START, self._scratch],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env=_environment(self._scratch),
                # Ctrl-C is for the parent, which then ends the child; and what the child starts ends with it.
                start_new_session=True,
            )
        except BaseException:
            shutil.rmtree(self._scratch, ignore_errors=True)
            raise
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._requests, self._replies = self._process.stdin, self._process.stdout
        os.set_blocking(self._requests.fileno(), False)
        os.set_blocking(self._replies.fileno(), False)
        self._tail = _Tail(self._process.stderr)
        # Also runs when the interpreter exits, or when the last reference is gone.
        self._end = weakref.finalize(self, _end, self._process, self._scratch)
        try:
            asked = {"loader": loader, "arguments": dict(arguments)}
            self.about, _ = self._ask("load", asked, {}, limits.load, "loading")
        except BaseException:
            self._end()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def call(self, verb: str, details: Mapping[str, Any], arrays: Arrays, phase: str) -> Message:
        """What the service answers; a RuntimeFailure that names the phase where it raises, dies or hangs."""
        return self._ask(verb, details, arrays, self.limits.run, phase)

    def close(self) -> None:
        """Lets the child leave in order, for a moment, and then ends it. Closing twice is fine."""
        with self._lock:
            if self._end.alive:
                with contextlib.suppress(OSError, TimeoutError, subprocess.TimeoutExpired):
                    send(self._requests.fileno(), {"verb": "close"}, {}, time.monotonic() + _SECONDS_TO_LEAVE)
                    self._process.wait(_SECONDS_TO_LEAVE)
                self._end()

    def _ask(self, verb: str, details: Mapping[str, Any], arrays: Arrays, limit: float, phase: str) -> Message:
        request = {"verb": verb, "end_after": limit + self.limits.grace, "details": details}
        with self._lock:
            if not self._end.alive:
                raise ValueError(f"{self._subject}: the session is closed; load the package again")
            until = time.monotonic() + limit
            try:
                send(self._requests.fileno(), request, arrays, until)
                answer, results = receive(self._replies.fileno(), until)
            except TimeoutError:
                raise self._failure("hung", phase, f"no answer within {limit:g} s, killed") from None
            except (EOFError, BrokenPipeError):
                raise self._failure("died", phase, self._how_it_died()) from None
            except BaseException:
                # Whatever interrupts a call leaves half a message in a pipe.
                self._end()
                raise
        if "error" in answer:
            raise self._failure("raised", phase, answer["error"])
        return answer["details"], results

    def _how_it_died(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._process.wait(_SECONDS_TO_LEAVE)
            return f"the process was killed by {_signal(-code)}" if code < 0 else f"the process exited with {code}"
        return "the process went silent"

    def _failure(self, ending: Ending, phase: str, cause: str) -> RuntimeFailure:
        if ending != "raised":
            self._end()
            self._tail.finish()
        return RuntimeFailure(self._subject, phase, cause, self._mends[ending], self._tail.lines())


class _Tail:
    """The end of what a child writes to stderr; all of it is read, so that no write of the child ever blocks."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._kept = b""
        self._thread = threading.Thread(target=self._drain, args=(stream,), daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Waits for the last words, but not for a grandchild that holds the pipe open."""
        self._thread.join(1.0)

    def lines(self) -> tuple[str, ...]:
        text = self._kept.decode(errors="replace")
        printable = ("".join(c if c.isprintable() else " " for c in line).rstrip() for line in text.splitlines())
        return tuple(line for line in printable if line)[-_TAIL_LINES:]

    def _drain(self, stream: IO[bytes]) -> None:
        with stream:
            while piece := os.read(stream.fileno(), _TAIL_BYTES):
                self._kept = (self._kept + piece)[-_TAIL_BYTES:]


def _end(process: subprocess.Popen[bytes], scratch: str) -> None:
    """Kill, reap, and take away what it left."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_SECONDS_TO_LEAVE)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    shutil.rmtree(scratch, ignore_errors=True)


def _environment(scratch: str) -> dict[str, str]:
    """The child finds the same modules, and makes its temporary files where they go with it."""
    paths = [path or str(Path.cwd()) for path in sys.path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TMPDIR": scratch}


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
