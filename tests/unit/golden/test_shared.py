"""Several systems to a module, and several to a reference, which is recorded once."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from parity.base.cache import Cache
from parity.base.paths import Project, ProjectError
from parity.golden.cli import main
from parity.plan import systems
from parity.plan.weights import choose
from tests.support.golden_system import REFERENCE, World, weights

Write = Callable[[str, str], None]
HEADER = """
from dataclasses import replace
from parity.declarations import System
from tests.support.golden_system import REFERENCE
ONE = System(REFERENCE, (), lambda run, case: None, title="one", scope="one")
OTHER = replace(ONE, title="other", scope="other")
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write a module into the folder of systems of a project of its own."""
    room = tmp_path / "some_converters"
    room.mkdir()
    (room / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(systems, "project", lambda: Project(tmp_path, systems=(room.name,)))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(name: str, text: str) -> None:
        (room / f"{name}.py").write_text(HEADER + text)
        importlib.invalidate_caches()

    yield write
    for loaded in [name for name in sys.modules if name.partition(".")[0] == room.name]:
        del sys.modules[loaded]


def test_a_module_declares_one_system_or_several(write: Write) -> None:
    write("several", "SYSTEMS = (ONE, OTHER)")
    write("single", 'SYSTEM = replace(ONE, title="single")')
    assert list(systems.systems()) == ["one", "other", "single"]
    assert systems.system("other").scope == "other"
    assert list(systems.references()) == ["tiny"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "declares no SYSTEM and no SYSTEMS"),
        ("SYSTEMS = ()", "declares no SYSTEM and no SYSTEMS"),
        ("SYSTEM = REFERENCE", "declares no SYSTEM"),
        ("SYSTEMS = (ONE, REFERENCE)", "declares no SYSTEM"),
    ],
)
def test_a_module_that_ports_nothing_is_an_error(write: Write, text: str, said: str) -> None:
    write("empty", text)
    with pytest.raises(ProjectError, match=rf"empty\.py: some_converters\.empty {said}"):
        systems.systems()


@pytest.mark.parametrize("text", ["SYSTEMS = (ONE, ONE)", "SYSTEM = ONE; SYSTEMS = (ONE, OTHER)"])
def test_a_name_is_given_once(write: Write, text: str) -> None:
    write("twice", text)
    with pytest.raises(ValueError, match="declares 'one' a second time"):
        systems.systems()


PUBLISHED_AGAIN = """
AGAIN = replace(REFERENCE, checkpoint=replace(REFERENCE.checkpoint, filename="again.pth"))
SYSTEMS = (ONE, replace(OTHER, reference=AGAIN))
"""


def test_what_was_published_twice_is_one_reference_with_seeded_weights(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    write("several", PUBLISHED_AGAIN)
    assert list(systems.references()) == ["tiny"]
    assert len(systems.checkpoints("tiny")) == 2
    assert main(["status", "tiny", "--weights", "hub"]) == 1
    told = capsys.readouterr().out
    assert told.count("tiny, hub nobody/tiny tiny.pth weights: 2 cases") == 1
    assert told.count("tiny, hub nobody/tiny again.pth weights: 2 cases") == 1


def test_what_was_published_twice_has_two_truths_with_weights_from_the_hub(tmp_path: Path) -> None:
    again = replace(REFERENCE, checkpoint=replace(REFERENCE.checkpoint, filename="again.pth"))
    rooms = {choose(reference, "hub", Cache(tmp_path)).folder for reference in (REFERENCE, again)}
    assert rooms == {"weights-hub-tiny", "weights-hub-tiny-again"}


def test_two_references_of_one_name_are_refused(write: Write) -> None:
    write("several", "SYSTEMS = (ONE, replace(OTHER, reference=replace(REFERENCE, cases=())))")
    with pytest.raises(ValueError, match="other has another reference that is named 'tiny' as well"):
        systems.references()


def test_a_shared_reference_is_recorded_and_shown_once(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("several", "SYSTEMS = (ONE, OTHER)")
    world = World(tmp_path)

    def run(*arguments: str) -> int:
        made = weights(tmp_path / "weights")
        cache = Cache(tmp_path / "cache")
        return main(list(arguments), choose=lambda *asked: made, root=world.goldens, cache=cache)

    assert run("refresh", "tiny") == 0
    for name in ("one", "other"):
        (world.goldens / name).mkdir()
        (world.goldens / name / "gates.toml").write_text("")
    for verb, line in (("status", "tiny, seeded weights"), ("diff", "tiny: 2 cases"), ("verify", "tiny: 2 cases")):
        capsys.readouterr()
        assert run(verb) == 0
        assert capsys.readouterr().out.count(line) == 1
    assert run("status", "one") == 2
    assert "there is no system 'one'; there are tiny" in capsys.readouterr().err
