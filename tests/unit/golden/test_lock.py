"""lock.json: deterministic, a line to a tensor, and refused where it is anything else than expected."""

import json
from pathlib import Path
from typing import Any

import pytest

from parity.golden import lock
from parity.golden.errors import DamagedGolden
from parity.golden.refresh import refresh
from parity.golden.status import status
from tests.support.golden_system import REFERENCE, World, quiet

HELLO = REFERENCE.case("hello")


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    refresh(world.store(), say=quiet, date="2026-01-01")
    return world


def test_a_lock_is_read_back_as_it_was_written(world: World) -> None:
    found = lock.read(world.own / "lock.json")
    assert found
    assert lock.write(found) == (world.own / "lock.json").read_bytes()


def test_a_tensor_is_one_line_with_all_that_is_known_of_it(world: World) -> None:
    line = next(line for line in (world.own / "lock.json").read_text().splitlines() if '"audio"' in line)
    entry = json.loads("{" + line.strip().rstrip(",") + "}")["audio"]
    assert entry.keys() == {"shape", "dtype", "min", "max", "mean", "rms", "zeros", "stored", "sha256"}
    assert entry["stored"] == "sketch"


def test_git_shows_a_line_for_each_tensor_that_moved(world: World) -> None:
    before = (world.own / "lock.json").read_text().replace(",\n", "\n").splitlines()
    refresh(world.store(gain=1.5), [HELLO], reason="a louder hello", say=quiet, date="2026-01-01")
    after = (world.own / "lock.json").read_text().replace(",\n", "\n").splitlines()
    new = [line.strip().split(":")[0] for line in after if line not in before]
    assert sorted(new) == ['"audio"', '"file"', '"hidden"', '"hidden"', '{"date"']


def test_nothing_recorded_is_no_lock(tmp_path: Path) -> None:
    assert lock.read(tmp_path / "lock.json") is None


def tensor(content: Any) -> Any:
    return content["cases"]["hello"]["seams"][0]["outputs"]["hidden"]


def put(key: str, value: Any, at: Any = lambda content: content) -> Any:
    def change(content: Any) -> None:
        at(content)[key] = value

    return change


HELLO_HIDDEN = r"cases\.hello\.seams\.0\.outputs\.hidden"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put("schema", 2), "schema: Input should be 1"),
        (put("more", 1), "more: Extra inputs are not permitted"),
        (put("system", "other"), "is the lock of other"),
        (put("system", "../other"), "system: .*can't name a file"),
        (put("packages", {}), "packages: Dictionary should have at least 1 item"),
        (put("../../x", {}, lambda c: c["cases"]), "can't name a file"),
        (put("seams", [], lambda c: c["cases"]["hello"]), r"cases\.hello\.seams: .*at least 1 item"),
        (put("outputs", {}, lambda c: c["cases"]["hello"]["seams"][0]), r"seams\.0\.outputs: .*at least 1 item"),
        (put("file", {"sha256": "../x", "bytes": 3}, lambda c: c["cases"]["hello"]), r"file\.sha256: .*match pattern"),
        (put("shape", [1, -4], tensor), rf"{HELLO_HIDDEN}\.shape\.1: .*greater than or equal to 1"),
        (put("shape", [1 << 20, 1 << 20], tensor), rf"{HELLO_HIDDEN}: .*more than \d+ elements"),
        (put("shape", 4, tensor), rf"{HELLO_HIDDEN}\.shape: .*valid array"),
        (put("dtype", "object", tensor), rf"{HELLO_HIDDEN}\.dtype: .*'bool', 'uint8'"),
        (put("sha256", "0" * 63, tensor), rf"{HELLO_HIDDEN}\.sha256: .*match pattern"),
        (put("sha256", "0" * 64 + "\n", tensor), rf"{HELLO_HIDDEN}\.sha256: .*match pattern"),
        (put("min", "low", tensor), rf"{HELLO_HIDDEN}\.min: .*valid number"),
        (put("min", float("nan"), tensor), rf"{HELLO_HIDDEN}\.min: .*finite number"),
        (put("zeros", True, tensor), rf"{HELLO_HIDDEN}\.zeros: .*valid integer"),
        (put("stored", "elsewhere", tensor), rf"{HELLO_HIDDEN}\.stored: .*'whole' or 'sketch'"),
        (put("spread", 5, tensor), rf"{HELLO_HIDDEN}\.spread: .*less than or equal to 2"),
        (put("note", 1, tensor), rf"{HELLO_HIDDEN}\.note: Extra inputs"),
        (put("inputs", 3, lambda c: c["cases"]["hello"]), r"cases\.hello\.inputs: .*an object"),
        (put("cases", [], lambda c: c), r"cases: .*an object"),
    ],
)
def test_a_lock_of_another_form_is_refused(world: World, change: Any, said: str) -> None:
    content = json.loads((world.own / "lock.json").read_text())
    change(content)
    (world.own / "lock.json").write_text(json.dumps(content))
    with pytest.raises(DamagedGolden, match=rf"lock\.json: (can't be read: )?.*{said}.*Mend: git checkout"):
        world.store().load(HELLO)
    assert {case.state for case in status(world.store()).cases} == {"damaged"}


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"schema": 1, "schema": 1}'],
    ids=["empty", "cut", "list", "null", "bytes", "deep", "twice"],
)
def test_what_is_no_lock_is_refused_without_a_crash(world: World, data: bytes) -> None:
    (world.own / "lock.json").write_bytes(data)
    with pytest.raises(DamagedGolden, match="can't be read: "):
        world.store().load(HELLO)


def test_a_lock_that_is_a_link_or_a_folder_or_huge_is_refused(world: World) -> None:
    path = world.own / "lock.json"
    with path.open("ab") as file:
        file.truncate(lock.MAX_BYTES + 1)
    with pytest.raises(DamagedGolden, match="at most"):
        lock.read(path)
    target = path.rename(path.with_name("elsewhere.json"))
    path.symlink_to(target)
    with pytest.raises(DamagedGolden, match="not a plain file"):
        lock.read(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(DamagedGolden, match="not a plain file"):
        lock.read(path)
