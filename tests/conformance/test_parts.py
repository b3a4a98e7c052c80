"""The parts of the runner: its comparison, its random data, its eye on predictions, its test ids."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.conformance import compare, entries, random_data, watch
from tests.conformance.selection import readable

THEIRS = """
import numpy as np

def compare(actual, expected, dtype="fp32", atol=1e-04, rtol=1e-05):
    if dtype == "fp16":
        atol = max(atol * 100.0, 5e-1)
        rtol = max(rtol * 100.0, 5e-2)
    np.testing.assert_allclose(actual, expected, atol=atol, rtol=rtol)
"""


@pytest.fixture
def theirs() -> ModuleType:
    """A comparison as loose as the suites'."""
    module = ModuleType("theirs")
    exec(THEIRS, module.__dict__)
    compare.start_test()
    watch.start_test().half = True
    return module


@pytest.fixture
def values() -> Any:
    return np.random.default_rng(0).standard_normal(1000)


def test_an_error_of_a_tenth_passes_theirs_and_fails_ours(theirs: ModuleType, values: Any) -> None:
    theirs.compare(values + 0.1, values, dtype="fp16")
    compare.tighten(theirs, "compare")
    with pytest.raises(AssertionError, match="off by more than"):
        theirs.compare(values + 0.1, values, dtype="fp16")


def test_one_wrong_element_fails(theirs: ModuleType, values: Any) -> None:
    compare.tighten(theirs, "compare")
    wrong = values.copy()
    wrong[17] += 0.05
    with pytest.raises(AssertionError, match=re.escape("1 of 1000 elements")):
        theirs.compare(wrong, values, dtype="fp16")


def test_rounding_to_half_precision_passes(theirs: ModuleType, values: Any) -> None:
    compare.tighten(theirs, "compare")
    theirs.compare((values.astype(np.float16) * np.float16(3)).astype(np.float32), values * 3, dtype="fp16")
    assert compare.meter.needed is not None
    assert compare.meter.needed < 3
    assert compare.meter.compared == 1


def test_a_program_without_half_precision_is_held_to_full_precision(theirs: ModuleType, values: Any) -> None:
    compare.tighten(theirs, "compare")
    watch.sighting.half = False
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        theirs.compare(values.astype(np.float16), values, dtype="fp16")


def test_integers_must_be_equal() -> None:
    assert compare.needed_factors([1.0, 2.0], np.array([1, 3]), 0.5, 0.5).tolist() == [0, np.inf]


def test_infinities_and_overflow() -> None:
    expected = np.array([np.inf, -np.inf, np.nan, 1e6, 1.0, 1.0])
    actual = np.array([np.inf, -np.inf, np.nan, np.inf, np.inf, np.nan])
    assert compare.needed_factors(actual, expected, 0.0, 0.0).tolist() == [0, 0, 0, 0, np.inf, np.inf]


def test_a_wider_bound_applies(theirs: ModuleType) -> None:
    compare.tighten(theirs, "compare")
    actual, expected = np.array([0.004]), np.array([0.003])
    with pytest.raises(AssertionError):
        theirs.compare(actual, expected, dtype="fp16")
    compare.start_test([entries.Entry("a.py::b", "cancellation", scale=1.0)])
    theirs.compare(actual, expected, dtype="fp16")


def test_random_data_keeps_its_promises() -> None:
    values = random_data.random_gen((50, 20), -3, 5, eps_from_int=0.1)
    assert values.dtype == np.float32
    assert values.shape == (50, 20)
    assert (values == values.astype(np.float16)).all()
    assert (np.abs(np.round(values) - values) > 0.1).all()
    assert values.min() >= -3
    assert values.max() <= 5
    assert values.min() < -2
    assert values.max() > 4
    distinct = random_data.random_gen((30,), 0, 40, allow_duplicate=False, dtype=np.int32)
    assert len(set(distinct.tolist())) == 30
    assert random_data.random_gen(()).shape == ()
    with pytest.raises(ValueError, match="no 30 such values"):
        random_data.random_gen((30,), 0, 3, allow_duplicate=False, dtype=np.int32)


class Proxy:
    """A runtime that refuses some models, and some inputs."""

    def __init__(self, path: str, compute_units: str, function: str = "") -> None:
        if path == "bad":
            raise RuntimeError("can't load")

    def predict(self, data: Any, state: Any = None) -> Any:
        return {"y": data["x"]}


def test_watching_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch._Origin, "spec", None)
    seen = watch.start_test()
    proxy = type("Watched", (Proxy,), {})
    watch.watch(proxy)
    model = proxy("good", "ALL")
    assert (seen.predictions, seen.errors) == (0, [])
    assert model.predict({"x": 1}) == {"y": 1}
    with pytest.raises(KeyError):
        model.predict({})
    assert seen.predictions == 2
    with pytest.raises(RuntimeError):
        proxy("bad", "ALL")
    assert seen.errors == ["KeyError: 'x'", "RuntimeError: can't load"]


def test_ids_are_the_same_in_every_process() -> None:
    assert readable(lambda x: x) == "test_ids_are_the_same_in_every_process.<locals>.<lambda>"
    assert readable([object()]) == "[<objectobjectat>]"
    assert readable([SimpleNamespace(size="is17")]) == "[namespace(size='is')]"
    assert readable(("mlprogram", "fp16")) == "mlprogram-fp16"
    config = SimpleNamespace(backend="mlprogram", precision="fp32", opset_version=SimpleNamespace(name="iOS17"))
    assert readable(config) == "mlprogram-fp32-iOS17"
    long = readable(list(range(1000)))
    assert len(long) < 140
    assert long != readable(list(range(1001)))


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ('[[known]]\nid = "a.py::b"\nreason = " "', "gives no reason"),
        ('[[known]]\nid = "*::b"\nreason = "r"', "must name its test file"),
        ('[[wider]]\nid = "a.py::b"\nreason = "r"', "neither factor nor scale"),
    ],
)
def test_entries_are_checked(tmp_path: Path, content: str, fault: str) -> None:
    file = tmp_path / "entries.toml"
    file.write_text(content)
    with pytest.raises(ValueError, match=fault):
        entries.load(file, content[2:7])


def test_only_the_star_is_special_in_an_entry() -> None:
    pattern = entries.Entry("a.py::test[x=(1,?)-*]", "r")
    assert pattern.matches("a.py::test[x=(1,?)-fp16]")
    assert not pattern.matches("a.py::test[x=(1,2)-fp16]")


def test_the_data_files_are_valid() -> None:
    entries.load(entries.KNOWN_FILE, "known")
    entries.load(entries.BOUNDS_FILE, "wider")
