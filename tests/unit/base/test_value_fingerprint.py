"""Values in a fingerprint: told apart by what they hold, and refused where nothing tells."""

from __future__ import annotations

import functools
import http
import logging
import math
import re
from collections import defaultdict, deque
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from parity.base.fingerprint import code
from tests.support.edit_modules import Project, project

__all__ = ["project"]


class Slotted:
    __slots__ = ("held",)

    def __init__(self, held: int) -> None:
        self.held = held


class Name(str):
    __slots__ = ()


PAIRS: list[tuple[Any, Any]] = [
    (1, True),
    (1, 1.0),
    ("1", b"1"),
    (0.0, -0.0),
    ([1, 2], (1, 2)),
    ([1, 2], [2, 1]),
    ([[1], 2], [1, [2]]),
    (["a, b"], ["a", "b"]),
    ({1, 2}, {1, 3}),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    (defaultdict(int), defaultdict(float)),
    (deque([1]), deque([2])),
    (MappingProxyType({"a": 1}), MappingProxyType({"a": 2})),
    (Name("a"), "a"),
    (Name("a"), Name("b")),
    (Path("a"), "a"),
    (Path("a"), Path("b")),
    (Slotted(1), Slotted(2)),
    (SimpleNamespace(a=1), SimpleNamespace(a=2)),
    (http.HTTPStatus.OK, http.HTTPStatus.CREATED),
    (re.compile("a" * 300), re.compile("a" * 300 + "b")),
    (re.compile("a"), re.compile("a", re.IGNORECASE)),
    (logging.getLogger("one"), logging.getLogger("two")),
    (functools.partial(int, base=2), functools.partial(int, base=3)),
    (math.sin, math.cos),
    (torch.sin, torch.cos),
    (torch.nn.ReLU, torch.nn.GELU),
    (torch.nn.functional.relu, torch.nn.functional.gelu),
    (np.sin, np.cos),
    (np.pad, np.roll),
    ([].append, [1].append),
    ("abc".find, "abd".find),
    (np.float32(1), np.float64(1)),
    (np.zeros(4, np.float32), np.zeros(4, np.int32)),
    (np.zeros(4), np.zeros((2, 2))),
    (np.arange(5000), np.arange(5000) + (np.arange(5000) == 2500)),
    (np.arange(6).reshape(2, 3), np.arange(6).reshape(3, 2).T),
    (np.array([{"a": 1}]), np.array([{"a": 2}])),
    (torch.zeros(4), torch.zeros(4, dtype=torch.int32)),
    (torch.zeros(4), torch.zeros(2, 2)),
    (torch.zeros(4), torch.nn.Parameter(torch.zeros(4))),
    (torch.arange(5000), torch.arange(5000) + (torch.arange(5000) == 2500)),
    (torch.float16, torch.float32),
    (torch.nn.Dropout(0.1), torch.nn.Dropout(0.2)),
]


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{type(pair[0]).__name__}-{type(pair[1]).__name__}")
def test_values_are_told_apart(pair: tuple[Any, Any]) -> None:
    one, other = pair
    assert code([one]) == code([one])
    assert code([one]) != code([other])


def test_values_that_are_laid_out_differently_are_the_same() -> None:
    array = np.arange(6).reshape(2, 3)
    assert code(array) == code(np.asfortranarray(array)) == code(array[:, :])
    tensor = torch.arange(6).reshape(2, 3)
    assert code(tensor) == code(tensor.T.contiguous().T)


def test_the_level_of_a_logger_makes_no_difference() -> None:
    logger = logging.getLogger("a logger of the tests")
    before = code(logger)
    logger.setLevel(logging.DEBUG)
    assert code(logger) == before


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("object()", r"subject\.VALUE is a builtins\.object"),
        ("{'a': [object()]}", r"subject\.VALUE\['a'\]\[0\] is a builtins\.object"),
        ("__import__('threading').Lock()", r"subject\.VALUE is a _thread\.lock"),
        ("(item for item in [1])", r"subject\.VALUE is a builtins\.generator"),
        ("Holder(object())", r"subject\.VALUE\['held'\] is a builtins\.object"),
        ("type('Dynamic', (), {})", r"subject\.Dynamic has no source"),
        ("eval('lambda: 1')", r"subject\.<lambda>, which has no source"),
        ("__import__('torch').empty(2, device='meta')", r"subject\.VALUE is a tensor whose values can't be read"),
    ],
)
def test_what_shows_no_content_is_an_error_that_names_it(project: Project, value: str, named: str) -> None:
    project.write(
        "subject.py",
        "class Holder:\n    def __init__(self, held):\n        self.held = held\n\n\n"
        f"VALUE = {value}\n\n\ndef use():\n    return VALUE\n",
    )
    with pytest.raises(TypeError, match=named):
        project.code("use")


def test_an_object_imported_from_elsewhere_is_told_by_its_name(project: Project) -> None:
    project.write("subject.py", "from threading import _active_limbo_lock as lock\n\n\ndef use():\n    return lock\n")
    before = project.code("use")
    project.edit("subject.py", "_active_limbo_lock as", "_shutdown_locks_lock as")
    assert project.code("use") != before
