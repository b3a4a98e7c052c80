"""The modules that `[tool.parity]` names: which they are, and what is said of those that can't be one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from parity.__main__ import main
from parity.base.paths import at, using
from parity.plan.systems import systems

SYSTEM = """
from parity.declarations import System
from tests.support.golden_system import REFERENCE
SYSTEM = System(REFERENCE, (), lambda run, case: None)
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in which modules are imported as in a new process."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = dict(sys.modules)
    yield tmp_path
    for name in [name for name in sys.modules if name not in before]:
        del sys.modules[name]
    sys.modules.update(before)


def written(root: Path, entry: str, files: dict[str, str]) -> None:
    (root / "pyproject.toml").write_text(f'[tool.parity]\nsystems = ["{entry}"]\n')
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.mark.parametrize(
    ("entry", "files", "said"),
    [
        ("conv", {"conv/util.py": ""}, "conv/util.py: conv.util declares no SYSTEM and no SYSTEMS"),
        ("port.py", {"port.py": f"{SYSTEM}SYSTEMS = SYSTEM"}, "port.py: SYSTEMS is a System; make it a tuple"),
        ("port.v2.py", {"port.v2.py": SYSTEM}, "port.v2.py can't be imported: name it NAME.py"),
        ("port.txt", {"port.txt": SYSTEM}, "port.txt can't be imported: name it NAME.py"),
        ("conv", {"conv/port.v2/__init__.py": SYSTEM}, "port.v2 can't be imported: name it NAME.py"),
        ("token.py", {"token.py": SYSTEM}, "token.py: Python takes token from "),
        ("converters", {"converters/port.py": SYSTEM}, "converters/port.py: Python takes converters from "),
        ("json/port.py", {"json/port.py": SYSTEM}, "json/port.py: Python takes json from "),
        ("conv", {"conv/README": ""}, "there is no system: conv in "),
    ],
)
def test_what_declares_no_system_is_told_with_its_place(
    root: Path, capsys: pytest.CaptureFixture[str], entry: str, files: dict[str, str], said: str
) -> None:
    written(root, entry, files)
    with using(at(root)):
        assert main(["golden", "status"]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("entry", "name"),
    [("my-port.py", "my-port.py"), ("./ports", "ports/tiny.py"), ("src/pkg/tiny.py", "src/pkg/tiny.py")],
)
def test_files_and_folders_declare_systems(root: Path, entry: str, name: str) -> None:
    written(root, entry, {name: SYSTEM, "src/pkg/__init__.py": ""})
    with using(at(root)):
        assert list(systems()) == ["tiny"]


def test_what_a_module_lacks_itself_stays_its_own_fault(root: Path) -> None:
    written(root, "port.py", {"port.py": "import no_such_library"})
    with using(at(root)), pytest.raises(ModuleNotFoundError, match="no_such_library"):
        systems()
