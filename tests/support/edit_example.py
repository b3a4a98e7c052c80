"""A project with a reference of every kind, to be edited: the subject, and what it refers to."""

from __future__ import annotations

SUBJECT = '''
"""A module of ours."""
from __future__ import annotations

import dataclasses
import enum
import functools
import typing
from collections import OrderedDict, namedtuple

import numpy as np
import torch

import helpers
import package.deep
import helpers as tools
from helpers import pad as padded
from package import sibling

SCALE = 2.5
"""What a scale is."""
ARRAY = np.arange(4, dtype=np.float32)
TENSOR = torch.tensor([1.0, 2.0], dtype=torch.bfloat16)
TABLE = {"one": lambda x: x + 1, "two": lambda x: x * 20}
PARTIAL = functools.partial(padded, by=3)
UNRELATED = "unrelated"
Point = namedtuple("Point", "x y")
LAYER = torch.nn.Linear(1, 1)
torch.nn.init.constant_(LAYER.weight, 0.5)
torch.nn.init.constant_(LAYER.bias, 0.25)


def registered(function):
    function.since = "iOS17"
    return function


def wrapping(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args) + 4

    return wrapper


def factory(gain):
    def made(x):
        """What was made."""
        return x * gain

    return made


MADE = factory(7)


class Options(enum.Enum):
    FAST = "fast"
    SLOW = "slow"


@dataclasses.dataclass(frozen=True)
class Setting:
    width: int = 8
    names: list = dataclasses.field(default_factory=lambda: ["left"])

    def area(self):
        return self.width * 11


SETTING = Setting(width=9)


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

    def forward(self, x, floor=helpers.FLOOR):
        # a comment
        inner = lambda y: helpers.nested(y)
        return inner(x) * SCALE + self.method() + floor

    def method(self):
        return helpers.LIMITS["low"]

    @property
    def length(self):
        return helpers.measure(self)

    @staticmethod
    def static():
        return package.deep.dig()

    @classmethod
    def build(cls):
        from package import lazy

        return lazy.late()

    @registered
    def old(self):
        return 1


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


@functools.lru_cache
def cached(x):
    return x - 8


def even(n):
    return n == 0 or odd(n - 1)


def odd(n):
    return n != 0 and even(n - 1)


def values():
    return ARRAY, TENSOR, TABLE, PARTIAL, MADE, Options.FAST, SETTING, Point(1, 2), LAYER


def local_import():
    import package.late_module as late
    from package.lazy import other

    return late.LATE + other()


def whole():
    return getattr(tools, "pad")


def shadows(SCALE, x):
    return x.UNRELATED + x.SCALE + SCALE


class CallsSuper(Base):
    def shared(self):
        return super().shared() + "more"


def relative():
    return sibling.reach()


def defaults(x, limit=helpers.compute(), *, floor=helpers.unused()):
    return x


def noted():
    return 1


noted.note = helpers.FLOOR


def logged(thing):
    print("made", thing)
    return thing


@logged
def plain():
    return 1


@logged
class Plain:
    pass


class Registry:
    def __init__(self):
        self.known = []

    def add(self, function):
        self.known.append(function)
        return function


REGISTRY = Registry()


@REGISTRY.add
def first():
    return "first"


@REGISTRY.add
def second():
    return "second"


class Given:
    pass


Given.later = helpers.KERNEL


class Computed(enum.Enum):
    LEFT = helpers.compute()


@dataclasses.dataclass
class Fresh:
    items: list = dataclasses.field(default_factory=helpers.fresh)


STATIC = {"static": Subject.static}
BOUND = Setting(width=13).area
WRAPPED = {"one": torch.no_grad()(lambda: 101), "two": torch.no_grad()(lambda: 102)}


def more_values():
    return STATIC, BOUND, WRAPPED, CallsSuper
'''

FILES = {
    "subject.py": SUBJECT,
    "helpers.py": """
        import math

        KERNEL = (3, 7)
        FLOOR = 0.125
        LIMITS = {"low": -1, "high": 1}
        OTHER = 99

        def pad(x, by=1):
            return shift(x, by)

        def shift(x, by):
            return x + by

        def nested(y):
            return math.floor(y)

        def measure(thing):
            return 17

        def unused():
            return 18

        def compute():
            return 19

        def fresh():
            return [20]

        def __getattr__(name):
            return 26
        """,
    "package/__init__.py": "ROOM = 1\n",
    "package/deep.py": "def dig():\n    return 21\n",
    "package/lazy.py": "def late():\n    return 22\n\n\ndef other():\n    return 23\n",
    "package/late_module.py": "LATE = 24\n",
    "package/sibling.py": "from . import deep\nfrom .deep import dig\n\n\ndef reach():\n    return deep.dig() + dig()",
}
