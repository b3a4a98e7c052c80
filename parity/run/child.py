"""A child process for what may hang or kill its process. The parent kills it at a limit and says how it ended."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import math
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from operator import methodcaller
from pathlib import Path
from typing import Any, Literal, NoReturn, Protocol

from parity.run.runtime import RuntimeFailure

Ending = Literal["hung", "died", "raised"]

_SECONDS_TO_LEAVE = 5.0
_OUTPUT = "output"
_TAIL_BYTES = 1 << 13
_TAIL_LINES = 12


class Service(Protocol):
    """The object that a loader returns in the child. The parent calls its methods by name."""

    def about(self) -> Any:
        """Return the description that the parent keeps as `Child.about`."""
        ...


@dataclass(frozen=True)
class Limits:
    """Seconds after which a child is taken to hang.

    Attributes:
        load: For loading. Compiling for the Neural Engine takes a minute where it works.
        run: For each call.
        grace: Added to both before the child ends itself, should its parent be gone and no thread notice it.
    """

    load: float = 600.0
    run: float = 300.0
    grace: float = 10.0

    def __post_init__(self) -> None:
        for name, seconds in asdict(self).items():
            if not (seconds > 0 and math.isfinite(seconds)):
                raise ValueError(f"the limit {name} is {seconds} seconds: it must be positive and finite")


class Child:
    """A service in a child process, for one call at a time. It ends with a call that hangs or kills it.

    Args:
        loader: A function of a module. The child calls it with `arguments` and keeps the service that it returns.
        arguments: Keyword arguments of the loader.
        subject: The name of the service in messages.
        mends: The advice in messages, for each ending of a call.
        limits: Seconds for loading and for a call.
    """

    def __init__(
        self,
        loader: Callable[..., Service],
        arguments: Mapping[str, Any],
        *,
        subject: str,
        mends: Mapping[Ending, str],
        limits: Limits = Limits(),
    ) -> None:
        self.limits = limits
        self._subject, self._mends = subject, mends
        self._lock = threading.Lock()
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._scratch = tempfile.mkdtemp(prefix="parity-")
        self._process = context.Process(
            target=_serve, args=(theirs, self._scratch, loader, dict(arguments), limits), daemon=True
        )
        # Also runs when the interpreter exits, or when the last reference is gone.
        self._end = weakref.finalize(self, _end, self._process, self._connection, self._scratch)
        try:
            self._process.start()
            theirs.close()
            self.about = self._ask(None, limits.load, "loading")
        except BaseException:
            self._end()
            raise

    @property
    def alive(self) -> bool:
        """True until the child was closed, hung or died."""
        return bool(self._end.alive)

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def call(self, phase: str, method: str, *arguments: Any) -> Any:
        """Return what a method of the service returns.

        Args:
            phase: The name of this call in messages.
            method: The name of the method.
            arguments: Its arguments, which are pickled, as is the result.

        Raises:
            RuntimeFailure: The method raised, died or hung.
        """
        return self._ask(methodcaller(method, *arguments), self.limits.run, phase)

    def close(self) -> None:
        """Let the child leave in order for a few seconds, then end it. Closing twice is fine."""
        with self._lock:
            if self._end.alive:
                with contextlib.suppress(OSError):
                    self._connection.send(None)
                    self._process.join(_SECONDS_TO_LEAVE)
                self._end()

    def _ask(self, request: methodcaller | None, limit: float, phase: str) -> Any:
        with self._lock:
            if not self._end.alive:
                raise ValueError(f"{self._subject}: the session is closed; load the package again")
            hung, died = threading.Event(), False

            def give_up() -> None:
                hung.set()
                _kill(self._process)

            # A timer rather than Connection.poll: a child that stops reading blocks a large request half way.
            timer = threading.Timer(limit, give_up)
            timer.start()
            try:
                if request:
                    self._connection.send(request)
                raised, answer = self._connection.recv()
            except (EOFError, OSError):
                died = True
            except BaseException:
                self._end()  # an interrupted call leaves half a message behind
                raise
            finally:
                timer.cancel()
                timer.join()
            if hung.is_set():
                raise self._failure("hung", phase, f"no answer within {limit:g} s, killed")
            if died:
                raise self._failure("died", phase, self._death())
        if raised:
            raise self._failure("raised", phase, raised)
        return answer

    def _death(self) -> str:
        self._process.join(_SECONDS_TO_LEAVE)
        code = self._process.exitcode
        if code is None or code >= 0:
            return "the process went silent" if code is None else f"the process exited with {code}"
        names = {known.value: known.name for known in signal.Signals}
        return f"the process was killed by {names.get(-code, f'signal {-code}')}"

    def _failure(self, ending: Ending, phase: str, cause: str) -> RuntimeFailure:
        said = _last_lines(Path(self._scratch, _OUTPUT))
        if ending != "raised":
            self._end()
        return RuntimeFailure(self._subject, phase, cause, self._mends[ending], said)


def _serve(
    connection: Connection, scratch: str, loader: Callable[..., Service], arguments: dict[str, Any], limits: Limits
) -> NoReturn:
    """Load once in the child, then answer until the parent says to leave or is gone."""
    os.setsid()  # Ctrl-C is for the parent, and the child's own processes end with it
    os.environ["TMPDIR"] = tempfile.tempdir = scratch
    output = os.open(Path(scratch, _OUTPUT), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    faulthandler.enable()
    threading.Thread(target=_leave_after_the_parent, args=(scratch,), daemon=True).start()
    service: Service | None = None

    def load() -> Any:
        nonlocal service
        service = loader(**arguments)
        return service.about()

    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        connection.send(_answer(limits.load + limits.grace, load))
        while request := connection.recv():
            connection.send(_answer(limits.run + limits.grace, request, service))
    service = None
    gc.collect()  # the service removes what it made
    _leave(scratch)


def _answer(seconds: float, call: Callable[..., Any], *arguments: Any) -> tuple[str, Any]:
    """Return the error that a call raises, empty if none, and the call's result.

    A library may hold the interpreter's lock for as long as it pleases. Then no thread notices that the parent is
    gone, but the timer of `faulthandler` still ends the process.
    """
    faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        return "", call(*arguments)
    except Exception as error:
        return f"{type(error).__name__}: {error}", None
    finally:
        faulthandler.cancel_dump_traceback_later()


def _leave_after_the_parent(scratch: str) -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    _leave(scratch)


def _leave(scratch: str) -> NoReturn:
    shutil.rmtree(scratch, ignore_errors=True)
    os._exit(0)


def _end(process: SpawnProcess, connection: Connection, scratch: str) -> None:
    """Kill and reap the child, and remove its files."""
    if process.pid is not None:
        _kill(process)
        process.join(_SECONDS_TO_LEAVE)
    connection.close()
    shutil.rmtree(scratch, ignore_errors=True)


def _kill(process: SpawnProcess) -> None:
    if process.pid is not None and process.exitcode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()


def _last_lines(file: Path) -> tuple[str, ...]:
    """Return the last printable lines of a file, none if there is no file.

    Where a process aborts, Python writes the calls of all threads behind its last words. These are left out.
    """
    try:
        with file.open("rb") as output:
            output.seek(max(0, output.seek(0, os.SEEK_END) - _TAIL_BYTES))
            text = output.read().decode(errors="replace")
    except FileNotFoundError:
        return ()
    lines = text.partition("Fatal Python error: ")[0].splitlines()
    printable = ("".join(c if c.isprintable() else " " for c in line).rstrip() for line in lines)
    return tuple(line for line in printable if line)[-_TAIL_LINES:]
