"""Values in a fingerprint: told apart by what they hold, and refused where nothing tells."""

from __future__ import annotations

import functools
import http
import logging
import math
import re
import threading
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from parity.base.fingerprint import code


class Slotted:
    __slots__ = ("held",)

    def __init__(self, held: Any) -> None:
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
    (MappingProxyType({"a": 1}), MappingProxyType({"a": 2})),
    (Name("a"), "a"),
    (Name("a"), Name("b")),
    (Path("a"), "a"),
    (Path("a"), Path("b")),
    (Slotted(1), Slotted(2)),
    (http.HTTPStatus.OK, http.HTTPStatus.CREATED),
    (re.compile("a" * 300), re.compile("a" * 300 + "b")),
    (re.compile("a"), re.compile("a", re.IGNORECASE)),
    (functools.partial(int, base=2), functools.partial(int, base=3)),
    (math.sin, math.cos),
    (torch.sin, torch.cos),
    (torch.nn.ReLU, torch.nn.GELU),
    (torch.nn.functional.relu, torch.nn.functional.gelu),
    (np.sin, np.cos),
    (np.pad, np.roll),
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


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ([object()], r"list\[0\] is a builtins\.object"),
        ({"a": [threading.Lock()]}, r"dict\['a'\]\[0\] is a _thread\.lock"),
        (Slotted(object()), r"Slotted\['held'\] is a builtins\.object"),
        ((item for item in [1]), "is a builtins.generator"),
        ([torch.nn.Dropout(0.1)], r"is a torch\.nn\..*Dropout, which does not show what it holds"),
        (SimpleNamespace(a=1), r"is a types\.SimpleNamespace"),
        (logging.getLogger("one"), r"is a logging\.Logger"),
        ([].append, "is a builtins.builtin_function_or_method"),
    ],
)
def test_what_does_not_show_what_it_holds_is_an_error_that_names_it(value: Any, named: str) -> None:
    with pytest.raises(TypeError, match=named):
        code(value)
