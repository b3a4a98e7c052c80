"""What a caller may pass: the names, types and shapes that the model describes, and an error that says so otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
import torch
from coremltools.converters.mil import Builder as mb  # noqa: N813
from coremltools.converters.mil.mil import types
from PIL import Image
from torch import nn

import milrun
from tests.milrun.packages import program, save


@pytest.fixture(scope="module")
def gather(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """x[indices] with a fixed shape and int32 indices."""

    def body(x, indices):  # type: ignore[no-untyped-def]
        return mb.gather(x=x, indices=indices, axis=0, name="y")

    source = program(body, [(4, 2), (3,)], [types.fp32, types.int32])
    return milrun.load(save(tmp_path_factory.mktemp("gather") / "m.mlpackage", source))


_X = np.arange(8, dtype=np.float32).reshape(4, 2)


def test_names_shapes_and_types_come_back_as_described(gather: Any) -> None:
    result = gather.predict({"x": _X, "indices": np.array([0, 3, 1])})
    assert list(result) == ["y"]
    assert result["y"].dtype == np.float32
    np.testing.assert_array_equal(result["y"], _X[[0, 3, 1]])


@pytest.mark.parametrize("convert", [list, torch.tensor, np.float64, np.float16], ids=["list", "torch", "f64", "f16"])
def test_anything_that_is_an_array_of_numbers_will_do(gather: Any, convert: Any) -> None:
    result = gather.predict({"x": convert(_X.tolist()), "indices": [0.0, 3.0, 1.0]})
    np.testing.assert_array_equal(result["y"], _X[[0, 3, 1]])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"x": _X}, "input 'indices' is missing: int32"),
        ({"x": _X, "indices": [0, 1, 2], "z": 1}, "unknown input 'z', the model takes x, indices"),
        ({"x": _X[:3], "indices": [0, 1, 2]}, r"input 'x' has the shape \(3, 2\), allowed is \(4, 2\)"),
        ({"x": _X, "indices": [[0, 1, 2]]}, r"input 'indices' has the shape \(1, 3\), allowed is \(3,\)"),
        ({"x": _X, "indices": [0, np.nan, 2]}, "input 'indices' has values that are not finite where int32"),
        ({"x": _X, "indices": [0, np.inf, 2]}, "input 'indices' has values that are not finite where int32"),
        ({"x": _X, "indices": [0, 0.5, 2]}, "input 'indices' has fractions where int32"),
        ({"x": _X, "indices": [0, 2**31, 2]}, "input 'indices' has values outside -2147483648 to 2147483647"),
        ({"x": _X.astype(np.complex64), "indices": [0, 1, 2]}, "input 'x' has the dtype complex64, allowed are"),
        ({"x": _X.astype(str), "indices": [0, 1, 2]}, "input 'x' has the dtype <U.*, allowed are numbers"),
        ({"x": [[1, 2], [3]], "indices": [0, 1, 2]}, "input 'x' is not an array"),
    ],
)
def test_wrong_inputs_are_named_with_what_is_allowed(gather: Any, inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gather.predict(inputs)


def test_inputs_are_never_written_to_and_results_are_the_callers_own(gather: Any) -> None:
    x, indices = _X.copy(), np.array([0, 3, 1], np.int32)
    result = gather.predict({"x": x, "indices": indices})["y"]
    result[:] = 7
    np.testing.assert_array_equal(x, _X)
    np.testing.assert_array_equal(gather.predict({"x": x, "indices": indices})["y"], _X[[0, 3, 1]])


class _Twice(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2


def _flexible(folder: Path, shape: Any) -> Any:
    traced = torch.jit.trace(_Twice(), torch.zeros(1, 5))
    inputs = [ct.TensorType(name="x", shape=shape)]
    return milrun.load(save(folder / "m.mlpackage", traced, inputs=inputs, outputs=[ct.TensorType(name="y")]))


def test_ranged_shapes_are_bounded_on_both_sides(tmp_path: Path) -> None:
    model = _flexible(tmp_path, ct.Shape((1, ct.RangeDim(2, 6, default=5))))
    for size in (2, 5, 6):
        assert model.predict({"x": np.ones((1, size))})["y"].shape == (1, size)
    for size in (1, 7):
        with pytest.raises(ValueError, match=r"allowed is \(1, 2 to 6\)"):
            model.predict({"x": np.ones((1, size))})
    with pytest.raises(ValueError, match=r"has the shape \(5,\)"):
        model.predict({"x": np.ones(5)})


def test_enumerated_shapes_are_these_and_no_others(tmp_path: Path) -> None:
    model = _flexible(tmp_path, ct.EnumeratedShapes([(1, 5), (1, 10)], default=(1, 5)))
    for size in (5, 10):
        assert model.predict({"x": np.ones((1, size))})["y"].shape == (1, size)
    with pytest.raises(ValueError, match=r"allowed is one of \(1, 5\), \(1, 10\)"):
        model.predict({"x": np.ones((1, 7))})


def test_scalars_come_and_go_as_arrays_of_one(tmp_path: Path) -> None:
    def body(x):  # type: ignore[no-untyped-def]
        return mb.reduce_sum(x=x, axes=[0], keep_dims=False, name="y")

    model = milrun.load(save(tmp_path / "m.mlpackage", program(body, [(3,)])))
    result = model.predict({"x": np.array([1.0, 2.0, 3.0])})["y"]
    assert result.shape == (1,)
    assert result[0] == 6


def test_optional_inputs_take_their_default(tmp_path: Path) -> None:
    traced = torch.jit.trace(_Twice(), torch.zeros(1, 3))
    inputs = [ct.TensorType(name="x", shape=(1, 3), default_value=np.full((1, 3), 4.0, np.float32))]
    model = milrun.load(save(tmp_path / "m.mlpackage", traced, inputs=inputs, outputs=[ct.TensorType(name="y")]))
    np.testing.assert_array_equal(model.predict({})["y"], np.full((1, 3), 8.0))


@pytest.mark.parametrize(("color", "order"), [("RGB", [0, 1, 2]), ("BGR", [2, 1, 0])])
def test_colour_images_arrive_as_channels_in_the_order_declared(tmp_path: Path, color: str, order: list[int]) -> None:
    traced = torch.jit.trace(_Twice(), torch.zeros(1, 3, 4, 6))
    layout = getattr(ct.colorlayout, color)
    image = ct.ImageType(name="x", shape=(1, 3, 4, 6), color_layout=layout, scale=0.5)
    model = milrun.load(save(tmp_path / "m.mlpackage", traced, inputs=[image], outputs=[ct.TensorType(name="y")]))
    pixels = np.random.default_rng(0).integers(0, 255, (4, 6, 3), dtype=np.uint8)
    found = model.predict({"x": Image.fromarray(pixels)})["y"]
    np.testing.assert_allclose(found, pixels.transpose(2, 0, 1)[None][:, order], atol=1e-4)
    with pytest.raises(ValueError, match="input 'x' is 5x4, allowed is image"):
        model.predict({"x": Image.fromarray(pixels[:, :5])})
    with pytest.raises(ValueError, match="input 'x' is ndarray, allowed is a PIL image of mode RGB or RGBA"):
        model.predict({"x": pixels})


@pytest.mark.parametrize(
    ("sizes", "allowed"),
    [
        (ct.EnumeratedShapes([(1, 3, 4, 5), (1, 3, 8, 6)]), "image RGB one of 5x4, 6x8"),
        (ct.Shape((1, 3, ct.RangeDim(2, 8, default=4), ct.RangeDim(3, 9, default=5))), "image RGB 3 to 9 x 2 to 8"),
    ],
)
def test_all_sizes_of_an_image_are_named(tmp_path: Path, sizes: Any, allowed: str) -> None:
    traced = torch.jit.trace(_Twice(), torch.zeros(1, 3, 4, 5))
    model = milrun.load(save(tmp_path / "m.mlpackage", traced, inputs=[ct.ImageType(name="x", shape=sizes)]))
    with pytest.raises(ValueError, match=f"input 'x' is 10x7, allowed is {allowed}$"):
        model.predict({"x": Image.fromarray(np.zeros((7, 10, 3), np.uint8))})


def test_grey_images_come_back_as_images(tmp_path: Path) -> None:
    traced = torch.jit.trace(_Twice(), torch.zeros(1, 1, 4, 6))
    grey = ct.colorlayout.GRAYSCALE
    source = save(
        tmp_path / "m.mlpackage",
        traced,
        inputs=[ct.ImageType(name="x", shape=(1, 1, 4, 6), color_layout=grey)],
        outputs=[ct.ImageType(name="y", color_layout=grey)],
    )
    pixels = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)
    found = milrun.load(source).predict({"x": Image.fromarray(pixels)})["y"]
    np.testing.assert_array_equal(np.asarray(found), np.minimum(pixels.astype(int) * 2, 255))
