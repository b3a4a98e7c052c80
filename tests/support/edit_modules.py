"""Small projects, written to disk, imported, edited and imported again."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from parity.base.fingerprint import code
from tests.support.edit_example import FILES


class Project:
    """A folder of modules that counts as ours."""

    def __init__(self, root: Path, files: Mapping[str, str]) -> None:
        self.root = root
        self.files: dict[str, str] = {}
        for name, text in files.items():
            self.write(name, textwrap.dedent(text))

    def write(self, name: str, text: str) -> None:
        self.files[name] = text
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def edit(self, name: str, old: str, new: str) -> None:
        assert self.files[name].count(old) == 1, f"{old!r} occurs {self.files[name].count(old)} times in {name}"
        self.write(name, self.files[name].replace(old, new))

    def load(self, name: str = "subject") -> ModuleType:
        """As a new process would import it."""
        self.unload()
        importlib.invalidate_caches()
        return importlib.import_module(name)

    def code(self, expression: str = "subject") -> dict[str, str]:
        """The fingerprint of what an expression over the module `subject` gives; of `subject.subject` by default."""
        found: Any = eval(expression, vars(self.load()))
        return code(*found if isinstance(found, tuple) else (found,), root=self.root)

    def unload(self) -> None:
        names = self._names()
        for loaded in [module for module in sys.modules if module.replace(".", "/") in names]:
            del sys.modules[loaded]

    def _names(self) -> set[str]:
        names = {name.removesuffix(".py").removesuffix("/__init__") for name in self.files}
        return names | {str(parent) for name in names for parent in Path(name).parents}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    project = Project(tmp_path, FILES)
    yield project
    project.unload()
