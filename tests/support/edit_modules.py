"""A small project with a reference of every kind, written to disk, imported, edited and imported again."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from parity.base.fingerprint import code

SUBJECT = '''
"""A module of ours."""
import dataclasses
import functools
from typing import TYPE_CHECKING, ClassVar

import torch

import helpers
import helpers as tools
import package.deep
from helpers import pad as padded
from package import sibling

if TYPE_CHECKING:
    from helpers import nested

SCALE = 2.5
"""What a scale is."""
TABLE = {"one": lambda x: x + 1,
         "two": lambda x: x * 20}
PARTIAL = functools.partial(padded, by=3)
UNRELATED = "unrelated"
KNOWN = []
KNOWN.append(helpers.fresh)


def wrapping(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args) + 4

    return wrapper


def factory(gain, scale=1):
    def made(x, scale=scale):
        """What was made."""
        return x * gain * scale

    class Made:
        rate = gain

        def forward(self, x):
            return x * gain

    return made, Made


@dataclasses.dataclass(frozen=True)
class Setting:
    width: int = 8
    depth: ClassVar[int] = 2
    names: list = dataclasses.field(default_factory=lambda: ["left"])

    def area(self):
        return self.width * 11


class Base:
    def shared(self):
        return "shared"


class Meta(type):
    def extra(cls):
        return "extra"


class Subject(Base, metaclass=Meta):
    """A docstring."""

    rate = 24_000
    kernel = helpers.KERNEL

    def forward(self, x: int, floor=helpers.FLOOR) -> int:
        # a comment
        inner = lambda y: helpers.nested(y)
        return inner(x) * SCALE + self.method() + floor

    def method(self):
        return package.deep.dig()

    @classmethod
    def build(cls):
        from package import lazy

        return lazy.late()


class Sibling(Base):
    def lonely(self):
        return UNRELATED


def calls(x, limit=[31]):
    """A docstring."""
    return padded(x) + tools.nested(x) + Subject().forward(x) + limit[0]


@wrapping
def decorated(x):
    return x - 5


@torch.no_grad()
def foreign(x):
    return x - 6


def even(n):
    return n == 0 or odd(n - 1)


def odd(n):
    return n != 0 and even(n - 1)


def values():
    return TABLE, PARTIAL, KNOWN, Setting(9)


def local_import():
    import package.late_module as late
    from package.lazy import other

    return late.LATE + other()


def whole():
    return getattr(tools, "pad")


def shadows(SCALE, x):
    return x.UNRELATED + x.SCALE + SCALE


def noted():
    return sibling.reach()


noted.note = helpers.FLOOR
'''

FILES = {
    "subject.py": SUBJECT,
    "helpers.py": """
        import math

        KERNEL = (3, 7)
        FLOOR = 0.125
        FLOOR += 1
        OTHER = 99

        def pad(x, by=1):
            return shift(x, by)

        def shift(x, by):
            return x + by

        def nested(y):
            return math.floor(y)

        def unused():
            return 18

        def fresh():
            return [20]

        def __getattr__(name):
            return 26
        """,
    "package/__init__.py": "from package import deep\n\nROOM = 1\n",
    "package/deep.py": "def dig():\n    return 21\n",
    "package/lazy.py": "def late():\n    return 22\n\n\ndef other():\n    return 23\n",
    "package/late_module.py": "try:\n    LATE = 24\nexcept ImportError:\n    LATE = 0\n",
    "package/sibling.py": "from . import deep\nfrom .deep import dig\n\n\ndef reach():\n    return deep.dig() + dig()",
}


class Project:
    """A folder of modules that counts as ours."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files: dict[str, str] = {}
        for name, text in FILES.items():
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
        """Import a module as a new process would."""
        self.unload()
        importlib.invalidate_caches()
        return importlib.import_module(name)

    def code(self, expression: str = "Subject") -> dict[str, str]:
        """Return the fingerprint of what an expression over the module `subject` gives."""
        found: Any = eval(expression, vars(self.load()))
        return code(*found if isinstance(found, tuple) else (found,), root=self.root)

    def unload(self) -> None:
        names = {name.removesuffix(".py").removesuffix("/__init__") for name in self.files}
        names |= {str(parent) for name in names for parent in Path(name).parents}
        for loaded in [module for module in sys.modules if module.replace(".", "/") in names]:
            del sys.modules[loaded]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    project = Project(tmp_path)
    yield project
    project.unload()
