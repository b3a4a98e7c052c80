"""A Python that has imported the heavy packages once: every Python of a test project is a fork of it.

A project's commands run in processes of their own, as a user's do, and most of each would be the import of torch and
coremltools. Run as a script, this is the server. Its client is an executable that stands for Python: it hands over its
arguments, environment, folder and open files, and ends as the fork ends. Whoever kills the client kills the fork.
"""

from __future__ import annotations

import atexit
import ctypes
import fcntl
import gc
import importlib
import json
import multiprocessing
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

HEAVY = (
    "numpy",
    "scipy.signal",
    "scipy.cluster",
    "sklearn.cluster",
    "torch",
    "coremltools",
    "safetensors",
    "PIL.Image",
)
CLIENT = """\
#!{python} -IS
import ctypes, json, os, signal, socket, sys

open_files = [number for number in map(int, os.listdir("/proc/self/fd")) if os.path.exists(f"/proc/self/fd/{{number}}")]
open_files = [number for number in open_files if os.get_inheritable(number)]
ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # whoever started this was killed: end, and the fork with it
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    request = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ), open_files]).encode()
    socket.send_fds(server, [len(request).to_bytes(8, "little")], open_files)
    server.sendall(request)
    code = server.recv(1)
sys.exit(code[0] if code else 70)
"""
MOST_FILES = 64


@contextmanager
def python(folder: Path) -> Iterator[Path]:
    """The path of an executable that stands for Python. `folder` is for its socket, whose path has to be short."""
    if sys.platform != "linux":
        yield Path(sys.executable)
        return
    address, client = folder / "socket", folder / "python"
    client.write_text(CLIENT.format(python=sys.executable, address=str(address)))
    client.chmod(0o755)
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, __file__, str(address), str(client)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ, **threads}
    ) as server:
        try:
            assert server.stdout
            assert server.stdout.read(5) == b"ready", "the warm Python did not start"
            yield client
        finally:
            server.kill()


def _serve(address: str) -> tuple[list[str], str, dict[str, str]]:
    """Returns in each fork, with what it is to run."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen(64)
        os.write(1, b"ready")
        while True:
            connection, _ = listening.accept()
            if not os.fork():
                break
            connection.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size, files, *_ = socket.recv_fds(connection, 8, MOST_FILES)
    request = b""
    while len(request) < int.from_bytes(size, "little"):
        request += connection.recv(1 << 16)
    child = os.fork()
    if child:
        _watch(connection, child)
    connection.close()
    arguments, folder, environment, numbers = json.loads(request)
    _take_over(files, numbers)
    return arguments, folder, environment


def _take_over(files: list[int], numbers: list[int]) -> None:
    """Gives the client's files the numbers that they had there."""
    aside = [fcntl.fcntl(file, fcntl.F_DUPFD, 200) for file in files]
    for file in files:
        os.close(file)
    for file, number in zip(aside, numbers, strict=True):
        os.dup2(file, number)
        os.close(file)


def _watch(connection: socket.socket, child: int) -> NoReturn:
    """Tells the client how the fork ended, or ends it when the client is gone."""
    ended = os.pidfd_open(child)
    ready, _, _ = select.select([ended, connection.fileno()], [], [])
    if ended not in ready:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    try:
        connection.send(bytes([code if code >= 0 else 128 - code]))
    finally:
        os._exit(0)


def _become(arguments: list[str], folder: str, environment: dict[str, str], executable: str) -> None:
    """Runs `python -m …` or `python -c …` as Python does."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    own = str(Path(__file__).parent)
    given = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = [folder, *given, *(path for path in sys.path if path != own)]
    sys.dont_write_bytecode = bool(environment.get("PYTHONDONTWRITEBYTECODE"))
    sys.executable = executable
    multiprocessing.set_executable(executable)
    importlib.invalidate_caches()
    first = next(at for at, argument in enumerate(arguments) if argument in ("-m", "-c"))
    option, what, *rest = arguments[first:]  # before them are flags of the interpreter, such as -B
    sys.argv[:] = [what if option == "-m" else option, *rest]
    if option == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        exec(what, {"__name__": "__main__"})


def _end(error: BaseException | None) -> NoReturn:
    """As Python ends, but without tidying memory up: that would first copy all that is shared with the server."""
    code = 0
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    elif error is not None:
        traceback.print_exception(error)
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code & 0xFF)


if __name__ == "__main__":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # as the clients do
    for name in HEAVY:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    task, folder, environment = _serve(sys.argv[1])
    try:
        _become(task, folder, environment, sys.argv[2])
    except BaseException as error:
        _end(error)
    _end(None)
