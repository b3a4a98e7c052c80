"""Published packages on milrun against what their authors made them of: PyTorch weights, an ONNX graph."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import milrun
from tests.milrun.compiled_models import compile_package
from tests.published.packages import MOST_FRAMES, PACKAGES, Array, Published, Run, distance, frames

BOUNDS = tomllib.loads(Path(__file__).with_name("bounds.toml").read_text())
EVERY = [
    pytest.param(published, signal, id=f"{published.name}-{signal}")
    for published in PACKAGES
    for signal in published.signals
]


def _require(published: Published) -> None:
    if missing := published.missing():
        pytest.skip(f"{', '.join(missing)} not installed: `make extra-published`")


@cache
def _other(name: str, rounded: bool) -> Run:
    return next(published for published in PACKAGES if published.name == name).other(rounded)


@cache
def _expected(name: str, signal: str, rounded: bool) -> dict[str, Array]:
    published = next(published for published in PACKAGES if published.name == name)
    return _other(name, rounded)(published.signals[signal]())


@pytest.mark.parametrize(("published", "signal"), EVERY)
@pytest.mark.parametrize("numerics", ["fp32", "declared"])
def test_a_published_package_computes_what_its_authors_trained(
    published: Published, signal: str, numerics: str
) -> None:
    _require(published)
    outputs = milrun.load(published.package(), numerics=numerics).predict(
        {published.input: published.signals[signal]()}
    )
    bounds = BOUNDS[published.name][numerics]
    for weights in ("rounded", "trained"):
        assert distance(outputs, _expected(published.name, signal, weights == "rounded")) < bounds[weights]["max"]


@pytest.mark.parametrize("published", PACKAGES, ids=lambda published: published.name)
@pytest.mark.parametrize("described", ["coremldata.bin", "metadata.json"])
def test_compiled_it_gives_the_same_bits(published: Published, described: Any, tmp_path: Path) -> None:
    _require(published)
    compiled = compile_package(published.package(), tmp_path / "m.mlmodelc", described)
    inputs = {published.input: next(iter(published.signals.values()))()}
    results = [milrun.load(path).predict(inputs) for path in (published.package(), compiled)]
    for name, value in results[0].items():
        np.testing.assert_array_equal(value, results[1][name])


@pytest.mark.parametrize("published", PACKAGES[:2], ids=lambda published: published.name)
def test_frames_beyond_the_range_are_refused(published: Published) -> None:
    _require(published)
    model = milrun.load(published.package())
    for count in (0, MOST_FRAMES + 1):
        with pytest.raises(ValueError, match="frames"):
            model.predict({"frames": np.zeros((count, 1024), np.float32)})


def test_the_upper_end_of_the_range_computes_the_same() -> None:
    """Of the tiny model; that of the full one takes minutes and 11 GB: ``python -m tests.published --frames 4096``."""
    published = PACKAGES[0]
    _require(published)
    x = frames(MOST_FRAMES)
    outputs = milrun.load(published.package(), numerics="fp32").predict({published.input: x})
    assert distance(outputs, _other(published.name, True)(x)) < BOUNDS[published.name]["fp32"]["rounded"]["max"]


def test_silence_shows_how_the_port_of_basic_pitch_departs_from_its_source() -> None:
    """coremltools turns TensorFlow's ``divide_no_nan`` into a plain division: on silence the package gives NaN."""
    published = PACKAGES[-1]
    _require(published)
    silence = np.zeros((1, 43_844, 1), np.float32)
    outputs = milrun.load(published.package()).predict({published.input: silence})
    for name, value in published.other(False)(silence).items():
        assert np.isfinite(value).all()
        assert np.isnan(outputs[name]).all()
