"""Writing in one step."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from parity.base.files import write_atomically

KILLED_WHILE_WRITING = """
    import os, signal, sys
    from pathlib import Path
    from parity.base.files import write_atomically

    calls = 0

    def die_at(moment):
        def wrap(function):
            def called(*args, **kwargs):
                global calls
                calls += 1
                if calls > moment:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*args, **kwargs)
            return called
        os.fsync, os.replace, os.rename, os.open = (wrap(f) for f in (os.fsync, os.replace, os.rename, os.open))

    path, moment = Path(sys.argv[1]), 0
    while True:
        path.write_bytes(b"old")
        if not (child := os.fork()):
            die_at(moment)
            write_atomically(path, b"new" * 1000)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        assert path.read_bytes() in (b"old", b"new" * 1000)
        if status == 0:
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
        moment += 1
    print(moment)
"""


def test_a_file_is_created_with_its_folders(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a" / "b" / "c.json", b"{}")
    assert (tmp_path / "a" / "b" / "c.json").read_bytes() == b"{}"
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["c.json"]


def test_a_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    write_atomically(path, b"a long first content")
    write_atomically(path, b"short")
    assert path.read_bytes() == b"short"


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.json"
    write_atomically(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["c.json"]


def test_a_reader_that_is_in_the_middle_keeps_the_old_contents(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    write_atomically(path, b"old contents")
    with path.open("rb", buffering=0) as file:
        start = file.read(3)
        write_atomically(path, b"new")
        assert start + file.read() == b"old contents"


def test_killed_at_any_moment_the_file_is_the_old_or_the_new(tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(KILLED_WHILE_WRITING), str(tmp_path / "c.json")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3], check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 2
