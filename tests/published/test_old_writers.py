"""Packages that coremltools 6.3, 7.2 and 8.3 wrote load, run, and compute what their weights say.

``make_fixtures.py`` made them. What has to come out is computed here by numpy and torch, from the same formulas.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import milrun
from tests.milrun.compiled_models import compile_package
from tests.published.make_fixtures import ENVIRONMENTS, FIXTURES

Array = np.ndarray[Any, Any]
LABELS = ["hum", "hiss", "speech"]
COMPRESSED = {
    **{f"palette{bits}": "constexpr_lut_to_dense" for bits in (1, 2, 4, 6, 8)},
    "int8": "constexpr_affine_dequantize",
    "sparse": "constexpr_sparse_to_dense",
}
HALF = {*COMPRESSED, "fp16", "ios15", "classifier", "range"}

every_version = pytest.mark.parametrize("version", ENVIRONMENTS)


def _random(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def _grid(levels: int, *shape: int) -> Array:
    numbers = np.arange(np.prod(shape)) * 7919 % 10007 % levels - levels // 2
    return (numbers / 128).astype(np.float32).reshape(shape)


def _whole(*shape: int) -> Array:
    weights = _grid(255, *shape)
    weights[:, 0] = 127 / 128
    return weights


def _sparse(*shape: int) -> Array:
    return np.where(np.arange(np.prod(shape)).reshape(shape) % 4 == 0, _grid(64, *shape), 0).astype(np.float32)


def _convolution(x: Array) -> Array:
    y = F.conv2d(
        torch.from_numpy(x), torch.from_numpy(_grid(255, 16, 3, 3, 3)), torch.from_numpy(_grid(8, 16)), padding=1
    )
    return F.relu(y).mean((2, 3)).numpy()


def _linear(x: Array, weight: Array) -> Array:
    return np.tanh(x) @ weight.T + np.where(np.arange(len(weight)) % 2, 127 / 128, -127 / 128)


def _softmax(x: Array) -> Array:
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


def _frames(x: Array) -> Array:
    y = F.conv1d(torch.from_numpy(x), torch.from_numpy(_grid(255, 8, 4, 5)), padding=2)
    return F.avg_pool1d(y, 2, 2).numpy()


def _pixels() -> Array:
    return np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def _preprocessed(image: Image.Image) -> Array:
    channels = np.asarray(image, np.float32).transpose(2, 0, 1)[None] / 64
    return channels + np.array([-1, -2, -0.5], np.float32).reshape(1, 3, 1, 1)


def _compressed(weight: Array) -> tuple[Any, Callable[[Any], Array]]:
    return _random(2, 48), lambda x: _linear(x, weight)


KINDS: dict[str, tuple[Any, Callable[[Any], Array]]] = {
    "fp32": (_random(1, 3, 8, 8), _convolution),
    "fp16": (_random(1, 3, 8, 8), _convolution),
    "ios15": (_random(1, 3, 8, 8), _convolution),
    "image": (Image.fromarray(_pixels()), lambda image: _convolution(_preprocessed(image))),
    "classifier": (_random(1, 48), lambda x: _softmax(_linear(x, _grid(255, 3, 48)))),
    "range": (_random(1, 4, 6), _frames),
    "enumerated": (_random(1, 4, 6), _frames),
    "palette1": _compressed(_grid(2, 24, 48)),
    "palette2": _compressed(_grid(4, 24, 48)),
    "palette4": _compressed(_grid(16, 24, 48)),
    "palette6": _compressed(_grid(64, 24, 48)),
    "palette8": _compressed(_grid(255, 24, 48)),
    "int8": _compressed(_whole(24, 48)),
    "sparse": _compressed(_sparse(24, 48)),
    "pipeline": (_random(2, 48), lambda x: _linear(_linear(x, _grid(255, 24, 48)), _grid(255, 24, 24))),
}


def _fixture(version: str, kind: str) -> Path:
    return FIXTURES / f"coremltools-{version}" / f"{kind}.mlpackage"


def _distance(actual: Any, expected: Array) -> float:
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


@every_version
@pytest.mark.parametrize("kind", KINDS)
def test_a_package_of_an_old_writer_computes_what_its_weights_say(version: str, kind: str) -> None:
    value, expected = KINDS[kind]
    for numerics in ("fp32", "declared"):
        outputs = milrun.load(_fixture(version, kind), numerics=numerics).predict({"x": value})
        wanted = expected(value)
        if kind == "classifier":
            assert outputs["classLabel"] == LABELS[int(wanted.argmax())]
            (scores,) = (found for name, found in outputs.items() if name != "classLabel")
            outputs = {"y": np.array([[scores[label] for label in LABELS]])}
        # The weights are exact in half precision, so in fp32 nothing of it is left.
        bound = 2e-3 if numerics == "declared" and kind in HALF else 1e-5
        assert outputs["y"].shape == wanted.shape
        assert _distance(outputs["y"], wanted) < bound


@every_version
@pytest.mark.parametrize("kind", ["range", "enumerated"])
@pytest.mark.parametrize("size", [2, 40])
def test_the_ends_of_a_flexible_shape_run(version: str, kind: str, size: int) -> None:
    model = milrun.load(_fixture(version, kind), numerics="fp32")
    x = _random(1, 4, size)
    assert _distance(model.predict({"x": x})["y"], _frames(x)) < 1e-5
    for beyond in (size - 1 if size == 2 else size + 1,):
        with pytest.raises(ValueError, match="'x'"):
            model.predict({"x": _random(1, 4, beyond)})


@every_version
@pytest.mark.parametrize("kind", COMPRESSED)
def test_a_compressed_package_holds_what_its_name_says(version: str, kind: str) -> None:
    model = milrun.load(_fixture(version, kind))
    assert isinstance(model, milrun.Model)
    assert COMPRESSED[kind] in {operation.type for operation in model.function.body.operations}


@every_version
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("image", "classifier")])
def test_compiled_it_gives_the_same_bits(version: str, kind: str, tmp_path: Path) -> None:
    package = _fixture(version, kind)
    compiled = compile_package(package, tmp_path / "m.mlmodelc", "metadata.json")
    inputs = {"x": KINDS[kind][0]}
    np.testing.assert_array_equal(milrun.load(compiled).predict(inputs)["y"], milrun.load(package).predict(inputs)["y"])
