"""A child process that hangs, dies, raises or chatters, and the parent that survives it."""

from __future__ import annotations

import gc
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity.run.child import Child, Ending, Limits, Service
from parity.run.runtime import RuntimeFailure
from tests.support import child_services as services

MENDS: dict[Ending, str] = {"hung": "mend of hanging", "died": "mend of dying", "raised": "mend of raising"}
PATIENT = 120.0
SHORT = 0.5


def watch(loader: Callable[..., Service], limits: Limits | None = None, **arguments: Any) -> Child:
    return Child(
        loader,
        arguments,
        subject="vocoder.mlpackage, compute units ALL",
        mends=MENDS,
        limits=limits or Limits(PATIENT, PATIENT),
    )


def gone(pid: int | None) -> bool:
    """Return True if the process is gone and reaped: a zombie could still be signalled."""
    assert pid is not None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.fixture
def echo() -> Iterator[Child]:
    child = watch(services.echo)
    yield child
    child.close()


class PipeOfLife:
    """A named pipe that ends with the last process that holds it, zombies not counted."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._path, self._reader = path, os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def __str__(self) -> str:
        return str(self._path)

    def ends(self) -> bool:
        poll = select.poll()
        poll.register(self._reader, select.POLLHUP)
        return bool(poll.poll(PATIENT * 1000))

    def close(self) -> None:
        os.close(self._reader)


@pytest.fixture
def pipe_of_life(tmp_path: Path) -> Iterator[PipeOfLife]:
    pipe = PipeOfLife(tmp_path / "alive")
    yield pipe
    pipe.close()


@pytest.mark.parametrize("how", ["hang", "hang with the lock"])
def test_a_child_that_hangs_while_loading_is_killed_at_the_limit(how: str) -> None:
    with pytest.raises(RuntimeFailure) as caught:
        watch(services.load, Limits(load=SHORT), how=how)
    assert caught.value.phase == "loading"
    assert "vocoder.mlpackage, compute units ALL, loading: no answer within 0.5 s, killed" in str(caught.value)
    assert "Mend: mend of hanging" in str(caught.value)


@pytest.mark.parametrize("how", ["hang", "hang with the lock"])
def test_a_child_that_hangs_while_predicting_is_killed_and_reaped(how: str) -> None:
    child = watch(services.echo, Limits(PATIENT, SHORT))
    with pytest.raises(RuntimeFailure, match=r"predicting: no answer within 0\.5 s"):
        child.call("predicting", "misbehave", how)
    assert gone(child.pid)


def test_what_a_hanging_child_started_ends_with_it(pipe_of_life: PipeOfLife) -> None:
    child = watch(services.mark, Limits(PATIENT, SHORT), alive=str(pipe_of_life))
    with pytest.raises(RuntimeFailure, match="no answer within"):
        child.call("predicting", "misbehave", "hang with a helper")
    assert pipe_of_life.ends()


def test_a_child_that_kills_itself_is_named_with_its_signal_and_its_last_words() -> None:
    with pytest.raises(RuntimeFailure) as caught:
        watch(services.load, how="kill")
    message = str(caught.value)
    assert "vocoder.mlpackage, compute units ALL, loading: the process was killed by SIGKILL" in message
    assert "stderr: ANECCompile() FAILED" in message
    assert "Mend: mend of dying" in message


def test_a_child_that_dies_while_predicting_ends_the_session(echo: Child) -> None:
    with pytest.raises(RuntimeFailure, match="predicting: the process was killed by SIGKILL"):
        echo.call("predicting", "misbehave", "kill")
    assert gone(echo.pid)
    with pytest.raises(ValueError, match="the session is closed"):
        echo.call("predicting", "echo")


def test_a_child_that_exits_is_named_with_its_status(echo: Child) -> None:
    with pytest.raises(RuntimeFailure, match="the process exited with 3"):
        echo.call("predicting", "misbehave", "exit")


def test_a_loader_that_raises_is_reported_and_its_child_reaped() -> None:
    with pytest.raises(RuntimeFailure, match="loading: LookupError: no such op") as caught:
        watch(services.load, how="raise")
    assert caught.value.mend == "mend of raising"


def test_a_call_that_raises_leaves_the_child_alive(echo: Child) -> None:
    with pytest.raises(RuntimeFailure, match="predicting: LookupError: no such op"):
        echo.call("predicting", "misbehave", "raise")
    assert echo.call("predicting", "echo", "still here") == ("still here",)


def test_big_arrays_cross_both_ways(echo: Child) -> None:
    sent = np.random.default_rng(0).standard_normal(50 * 2**20 // 8)
    whole, half = echo.call("predicting", "echo", sent, sent[::2])
    np.testing.assert_array_equal(whole, sent)
    np.testing.assert_array_equal(half, sent[::2])


def test_arrays_cross_unchanged_and_can_be_written_to(echo: Child) -> None:
    half = np.array([[1, np.nan], [np.inf, -0.0]], np.float16)
    sent = {"half": half, "rank 0": np.array(2.5, np.float32), "transposed": np.arange(12).reshape(3, 4).T}
    (got,) = echo.call("predicting", "echo", sent)
    for name, array in sent.items():
        assert (got[name].dtype, got[name].shape) == (array.dtype, array.shape)
        assert got[name].tobytes() == array.tobytes()
        assert got[name].flags.writeable


def test_a_child_that_never_reads_is_killed_too() -> None:
    child = watch(services.echo, Limits(PATIENT, SHORT))
    assert child.pid is not None
    os.kill(child.pid, signal.SIGSTOP)
    with pytest.raises(RuntimeFailure, match="no answer within"):
        child.call("predicting", "echo", np.zeros(2**22))
    assert gone(child.pid)


def test_an_abort_is_told_by_the_last_words_before_it(echo: Child) -> None:
    with pytest.raises(RuntimeFailure, match="the process was killed by SIGABRT") as caught:
        echo.call("predicting", "misbehave", "abort")
    assert caught.value.stderr[-1] == "check failed: Long"
    assert "most recent call first" not in str(caught.value)


def test_chatter_does_not_block_the_child_and_its_last_lines_are_kept(echo: Child) -> None:
    echo.call("predicting", "misbehave", "chatter")
    with pytest.raises(RuntimeFailure) as caught:
        echo.call("predicting", "misbehave", "kill")
    assert len(caught.value.stderr) == 12
    assert caught.value.stderr[-2:] == ("the end", "ANECCompile() FAILED")
    assert "\x1b" not in str(caught.value)


def test_closing_reaps_the_child_and_takes_its_temporary_files_away() -> None:
    child = watch(services.echo)
    assert Path(child.about["temporary"]).is_dir()
    child.close()
    child.close()
    assert gone(child.pid)
    assert not Path(child.about["temporary"]).exists()


def test_a_child_is_reaped_when_nobody_holds_it() -> None:
    child = watch(services.echo)
    pid = child.pid
    del child
    gc.collect()
    assert gone(pid)


def test_two_children_live_side_by_side(echo: Child) -> None:
    other = watch(services.echo)
    assert other.pid != echo.pid
    other.call("predicting", "echo")
    with pytest.raises(RuntimeFailure):
        other.call("predicting", "misbehave", "kill")
    assert echo.call("predicting", "echo", 1) == (1,)


_PARENT = """
import os, signal, sys
from tests.unit.run.test_child import Limits, services, watch
child = watch(services.mark, Limits(120.0, 1.0, 0.5), alive=sys.argv[1])
if sys.argv[2] == "idle":
    os.kill(os.getpid(), signal.SIGKILL)
import threading
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGKILL)).start()
child.call("predicting", "misbehave", sys.argv[2])
"""


@pytest.mark.parametrize("busy", ["idle", "hang", "hang with the lock"])
def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path, pipe_of_life: PipeOfLife, busy: str) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command = [sys.executable, "-c", _PARENT, str(pipe_of_life), busy]
    environment = {**os.environ, "TMPDIR": str(scratch)}
    parent = subprocess.run(command, check=False, capture_output=True, env=environment)
    assert parent.returncode == -signal.SIGKILL, parent.stderr
    assert pipe_of_life.ends(), "the child outlived its parent"
    if busy == "idle":
        assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("limit", [0.0, -1.0, float("inf"), float("nan")])
def test_a_limit_that_never_comes_is_refused(limit: float) -> None:
    with pytest.raises(ValueError, match="must be positive and finite"):
        Limits(load=limit)
