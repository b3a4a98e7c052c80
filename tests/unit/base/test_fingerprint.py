"""Digests of parts, and what they say about a change."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.base.fingerprint import changed, digest
from parity.base.libraries import versions
from parity.base.paths import Project, using

_LEAF = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
_VALUE = st.recursive(_LEAF, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
_PARTS = st.dictionaries(st.text(), _VALUE, max_size=4)


class Colour(StrEnum):
    RED = "red"


def test_the_order_of_parts_makes_no_difference() -> None:
    assert digest({"a": 1, "b": {"c": 2, "d": 3}}) == digest({"b": {"d": 3, "c": 2}, "a": 1})


def test_a_digest_is_the_same_on_every_machine() -> None:
    parts = {"weights": "abc", "options": {"opset": 17, "scale": 0.1}, "names": ["ä", None, True]}
    assert digest(parts) == "947ec0a501b77255d9792cdf188ca7c278fa7574e283b9007487f4609067de35"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, True),
        (0, False),
        ("1", 1),
        (None, "null"),
        (0.0, -0.0),
        ([1, 2], [2, 1]),
        ([], {}),
        ([[1], 2], [1, [2]]),
        ("a,b", ["a", "b"]),
        ({"a": {"b": 1}}, {"a.b": 1}),
    ],
)
def test_different_values_have_different_digests(one: Any, other: Any) -> None:
    assert digest({"part": one}) != digest({"part": other})
    assert changed({"part": one}, {"part": other})


@pytest.mark.parametrize(
    "value", [(1, 2), {1, 2}, b"bytes", np.float64(1), np.zeros(2), Path("a"), Colour.RED, object(), 1j]
)
def test_a_value_that_is_not_json_is_refused_by_name(value: Any) -> None:
    with pytest.raises(TypeError, match=r"options\.inner\[1\] is a"):
        digest({"options": {"inner": [0, value]}})


def test_a_key_that_is_not_text_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="options has the key 3"):
        digest({"options": {3: "x"}})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_json_can_not_hold_is_refused_by_name(value: float) -> None:
    with pytest.raises(ValueError, match=r"options\.scale is (nan|inf)"):
        digest({"options": {"scale": value}})


@settings(max_examples=40)
@given(_PARTS)
def test_parts_read_back_from_json_have_the_same_digest(parts: dict[str, Any]) -> None:
    assert digest(json.loads(json.dumps(parts))) == digest(parts)


@settings(max_examples=40)
@given(_PARTS, _PARTS)
def test_changes_are_told_whenever_digests_differ_and_only_then(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert bool(changed(before, after)) == (digest(before) != digest(after))


def test_changes_are_lines_that_name_the_part() -> None:
    before = {"weights": "ab" * 32, "options": {"opset": 17, "old": "x"}, "code": {"a": "0" * 16}, "same": [1]}
    after = {"weights": "cd" * 32, "options": {"opset": 18, "new": True}, "code": {"b": "0" * 16}, "same": [1]}
    assert changed(before, after) == [
        "code.a is gone",
        "code.b is new",
        "options.new is new: true",
        "options.old is gone: it was x",
        "options.opset: 17 → 18",
        "weights changed",
    ]


def test_libraries_are_told_by_the_installed_version() -> None:
    assert versions("numpy", "filelock") == {"numpy": np.__version__, "filelock": versions("filelock")["filelock"]}


def test_a_library_that_is_not_installed_is_an_error_that_names_it() -> None:
    with pytest.raises(ValueError, match="no-such-library is not installed"):
        versions("numpy", "no-such-library")


def test_a_library_of_an_extra_that_is_not_installed_is_told_by_its_pin(
    tmp_path: Path,
) -> None:
    (tmp_path / "requirements-heavy.lock").write_text("No_such.Library==1.5\nnumpy==0.1\n")
    (tmp_path / "requirements.lock").write_text("another-library==2.0\n")
    with using(Project(tmp_path)):
        assert versions("no-such-library", "numpy") == {"no-such-library": "1.5", "numpy": np.__version__}
        with pytest.raises(ValueError, match="another-library is not installed"):
            versions("another-library")
