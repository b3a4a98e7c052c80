"""Ops that a program spells out run as one where torch has one, and only where nothing can tell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coremltools.converters.mil import Builder as mb  # noqa: N813

import milrun
from milrun.protobuf import model_class
from tests.milrun.editing import block_of, edit
from tests.milrun.packages import program, save

_SHAPES = [(1, 2, 5, 8), (1, 2, 7, 8), (1, 2, 7, 8), (1, 1, 5, 7)]
_RNG = np.random.default_rng(0)
_INPUTS = dict(zip("qkvm", (_RNG.standard_normal(shape).astype(np.float32) for shape in _SHAPES), strict=True))


def _attention(
    folder: Path,
    *,
    shapes: Sequence[tuple[int, ...]] = _SHAPES,
    masked: bool = True,
    shows_weights: bool = False,
    half: bool = False,
) -> Path:
    def body(q, k, v, m):  # type: ignore[no-untyped-def]
        scores = mb.mul(x=mb.matmul(x=q, y=k, transpose_y=True), y=np.float32(0.3))
        scores = mb.add(x=scores, y=m) if masked else scores
        weights = mb.softmax(x=scores, axis=-1, name="weights")
        y = mb.matmul(x=weights, y=v, name="y")
        return (y, weights) if shows_weights else (y, mb.identity(x=m, name="m2"))

    return save(folder / "m.mlpackage", program(body, shapes), half=half)


def _expected(inputs: dict[str, Any], masked: bool) -> Any:
    q, k, v, m = (inputs[name].astype(np.float64) for name in "qkvm")
    scores = q @ k.swapaxes(-1, -2) * 0.3 + (m if masked else 0)
    with np.errstate(invalid="ignore"):
        e = np.exp(scores - scores.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True) @ v


def _op_types(model: Any) -> set[str]:
    return {operation.type for operation in model.step_operations()}


@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_one_step_in_fp32_and_gives_the_same(tmp_path: Path, masked: bool) -> None:
    model = milrun.load(_attention(tmp_path, masked=masked), numerics="fp32")
    assert "fused_attention" in _op_types(model)
    assert not {"softmax", "matmul"} & _op_types(model)
    np.testing.assert_allclose(model.predict(_INPUTS)["y"], _expected(_INPUTS, masked), atol=1e-5)


def test_a_row_that_is_masked_altogether_stays_nan(tmp_path: Path) -> None:
    mask = np.zeros((1, 1, 5, 7), np.float32)
    mask[0, 0, 2] = -np.inf
    inputs = _INPUTS | {"m": mask}
    found = milrun.load(_attention(tmp_path), numerics="fp32").predict(inputs)["y"]
    assert np.isnan(found[:, :, 2]).all()
    assert np.isfinite(found[:, :, 3]).all()
    np.testing.assert_allclose(found, _expected(inputs, True), atol=1e-5)


def test_a_mask_of_one_axis_is_for_every_row(tmp_path: Path) -> None:
    shapes = [*_SHAPES[:3], (7,)]
    inputs = _INPUTS | {"m": np.array([0, 0, -9, 0, -9, 0, 0], np.float32)}

    model = milrun.load(_attention(tmp_path, shapes=shapes), numerics="fp32")
    assert "fused_attention" in _op_types(model)
    np.testing.assert_allclose(model.predict(inputs)["y"], _expected(inputs, True), atol=1e-5)


@pytest.mark.parametrize(
    "shapes",
    [
        [(1, 1, 5, 8), (1, 1, 7, 8), (1, 1, 7, 8), (1, 4, 5, 7)],
        [(1, 1, 1, 8), (1, 1, 7, 8), (1, 1, 7, 8), (1, 1, 8, 7)],
        [(1, 2, 1, 8), (1, 2, 7, 8), (1, 2, 7, 8), (1, 1, 8, 7)],
        [(1, 2, 5, 8), (1, 2, 1, 8), (1, 2, 7, 8), (1, 1, 5, 7)],
        [(1, 2, 5, 8), (1, 2, 1, 8), (1, 2, 7, 8), (7,)],
        [(1, 2, 5, 8), (1, 2, 7, 8), (1, 2, 7, 8), (1,)],
        [(1, 2, 5, 8), (1, 2, 7, 8), (1, 2, 7, 8), (5, 1)],
    ],
)
def test_a_mask_may_broadcast_the_scores(tmp_path: Path, shapes: list[tuple[int, ...]]) -> None:
    inputs = dict(zip("qkvm", (_RNG.standard_normal(shape).astype(np.float32) for shape in shapes), strict=True))

    model = milrun.load(_attention(tmp_path, shapes=shapes), numerics="fp32")
    assert "fused_attention" in _op_types(model)
    np.testing.assert_allclose(model.predict(inputs)["y"], _expected(inputs, True), atol=1e-5)


def test_what_a_mask_makes_of_the_scores_is_foreseen(tmp_path: Path) -> None:
    shapes = [(1, 1, 1 << 18, 1), (1, 1, 1, 1), (1, 1, 1 << 18, 1), (1, 1, 1, 1 << 18)]

    def body(q, k, v, m):  # type: ignore[no-untyped-def]
        scores = mb.add(x=mb.matmul(x=q, y=k, transpose_y=True), y=m)
        return mb.matmul(x=mb.softmax(x=scores, axis=-1), y=v, name="y")

    model = milrun.load(save(tmp_path / "m.mlpackage", program(body, shapes)), numerics="fp32")
    assert "fused_attention" in _op_types(model)
    with pytest.raises(milrun.ModelError, match=r"\(fused_attention\) failed: it would take"):
        model.predict(dict(zip("qkvm", (np.ones(shape, np.float32) for shape in shapes), strict=True)))


def test_what_is_asked_for_in_between_is_kept(tmp_path: Path) -> None:
    model = milrun.load(_attention(tmp_path, shows_weights=True), numerics="fp32")
    assert "softmax" in _op_types(model)
    assert set(model.predict(_INPUTS)) >= {"y", "weights"}


def test_declared_rounds_after_every_op_and_fuses_nothing(tmp_path: Path) -> None:
    assert {"softmax", "matmul"} <= _op_types(milrun.load(_attention(tmp_path, half=True)))


def test_a_trace_shows_every_value(tmp_path: Path) -> None:
    model = milrun.load(_attention(tmp_path), numerics="fp32")
    assert {"softmax", "matmul", "add", "mul"} <= {tap.op_type for tap in model.trace(_INPUTS)}


def _select(folder: Path, *, also_read: bool) -> Path:
    def body(q, k, v, m):  # type: ignore[no-untyped-def]
        one = mb.slice_by_index(x=q, begin=[0, 0, 0, 0], end=[1, 2, 1, 8])
        row = mb.tile(x=one, reps=[1, 1, 7, 1], name="row")
        y = mb.select(cond=mb.greater(x=k, y=np.float32(0)), a=row, b=v, name="y")
        return (y, mb.exp(x=row, name="e"), m) if also_read else (y, m)

    return save(folder / "m.mlpackage", program(body, _SHAPES), passes=False)


@pytest.mark.parametrize("numerics", ["fp32", "declared"])
@pytest.mark.parametrize("also_read", [False, True])
def test_a_tile_is_left_out_where_select_broadcasts(tmp_path: Path, numerics: str, also_read: bool) -> None:
    model = milrun.load(_select(tmp_path, also_read=also_read), numerics=numerics)
    assert ("tile" in _op_types(model)) == also_read
    expected = np.where(_INPUTS["k"] > 0, _INPUTS["q"][:, :, :1], _INPUTS["v"])
    np.testing.assert_array_equal(model.predict(_INPUTS)["y"], expected)


def _frames(folder: Path, *, half: bool = False, **other: Any) -> Path:
    """Save two convolutions of one signal, the second with other attributes if given."""
    kernels = [_RNG.standard_normal((count, 1, 200)).astype(np.float32) for count in (101, 60)]

    def body(x):  # type: ignore[no-untyped-def]
        a = mb.conv(x=x, weight=kernels[0], strides=[80], pad_type="valid", name="a")
        b = mb.conv(x=x, weight=kernels[1], **({"strides": [80], "pad_type": "valid"} | other), name="b")
        return a, b

    return save(folder / "m.mlpackage", program(body, [(1, 1, 2000)]), half=half)


@pytest.mark.parametrize(("half", "numerics"), [(False, "fp32"), (False, "declared"), (True, "declared")])
def test_convolutions_of_the_same_frames_are_one_step_and_give_the_same(
    tmp_path: Path, half: bool, numerics: str
) -> None:
    model = milrun.load(_frames(tmp_path, half=half), numerics=numerics)
    assert isinstance(model, milrun.Model)
    assert [op.type for op in model.step_operations()].count("split") == 1
    inputs = {"x": _RNG.standard_normal((1, 1, 2000)).astype(np.float32)}
    made = model.predict(inputs)
    taps = {tap.name[0]: tap.tensor.float().numpy() for tap in model.trace(inputs) if tap.op_type == "conv"}
    for name, apart in taps.items():
        np.testing.assert_allclose(made[name], apart, rtol=2e-3 if half else 1e-4, atol=1e-4)
    assert taps.keys() == {"a", "b"}
    made["a"][:] = 0
    assert made["b"].any()


@pytest.mark.parametrize(
    "other", [{"strides": [40]}, {"pad": [8, 8], "pad_type": "custom"}, {"bias": np.ones(60, np.float32)}]
)
def test_convolutions_of_other_frames_stay_apart(tmp_path: Path, other: dict[str, Any]) -> None:
    assert "split" not in _op_types(milrun.load(_frames(tmp_path, **other)))


@pytest.mark.parametrize("also_read", [False, True])
def test_squares_are_one_step_where_nothing_else_reads_what_they_are_of(tmp_path: Path, also_read: bool) -> None:
    kernels = [_RNG.standard_normal((count, 1, 200)).astype(np.float32) for count in (101, 101)]

    def body(x):  # type: ignore[no-untyped-def]
        a, b = (mb.conv(x=x, weight=kernel, strides=[80], pad_type="valid") for kernel in kernels)
        power = mb.add(x=mb.square(x=a), y=mb.square(x=b), name="power")
        return (power, mb.exp(x=b, name="e")) if also_read else power

    model = milrun.load(save(tmp_path / "m.mlpackage", program(body, [(1, 1, 2000)]), half=True))
    assert isinstance(model, milrun.Model)
    assert [op.type for op in model.step_operations()].count("square") == (2 if also_read else 1)
    inputs = {"x": _RNG.standard_normal((1, 1, 2000)).astype(np.float32) / 100}
    apart = next(tap.tensor.float().numpy() for tap in model.trace(inputs) if tap.name.startswith("power"))
    np.testing.assert_allclose(model.predict(inputs)["power"], apart, rtol=2e-2, atol=1e-3)


def test_a_power_of_two_is_a_square_and_no_other_is(tmp_path: Path) -> None:
    def body(x):  # type: ignore[no-untyped-def]
        return mb.pow(x=x, y=np.float32(2), name="two"), mb.pow(x=x, y=np.float32(3), name="three")

    x = _RNG.standard_normal((3, 4)).astype(np.float32)
    model = milrun.load(save(tmp_path / "m.mlpackage", program(body, [(3, 4)]), half=True))
    assert {"square", "pow"} <= _op_types(model)
    made, half = model.predict({"x": x}), x.astype(np.float16).astype(np.float32)
    for name, power in (("two", half**2), ("three", half**3)):
        np.testing.assert_array_equal(np.float16(made[name]), power.astype(np.float16))


def _views(folder: Path) -> Path:
    def body(x):  # type: ignore[no-untyped-def]
        wide = mb.exp(x=mb.expand_dims(x=mb.reshape(x=x, shape=[4, 3]), axes=[0], name="wide"), name="e")
        there_and_back = mb.squeeze(x=mb.expand_dims(x=wide, axes=[1], name="there"), axes=[1], name="back")
        shown = mb.reshape(x=there_and_back, shape=[12], name="shown")
        return mb.add(x=there_and_back, y=np.float32(1), name="y"), shown, mb.reshape(x=x, shape=[3, 4], name="z")

    return save(folder / "m.mlpackage", program(body, [(3, 4)]), passes=False)


def test_a_chain_of_views_is_one_step_and_none_where_it_leads_back(tmp_path: Path) -> None:
    model = milrun.load(_views(tmp_path))
    assert isinstance(model, milrun.Model)
    made = [operation.outputs[0][0] for operation in model.step_operations()]
    assert sorted(made) == ["e", "shown", "wide", "y", "z"]
    x = _RNG.standard_normal((3, 4)).astype(np.float32)
    found, tapped = model.predict({"x": x}), {tap.name: tap.tensor.numpy() for tap in model.trace({"x": x})}
    assert {"there", "back"} <= tapped.keys()
    for name, value in found.items():
        np.testing.assert_array_equal(value, tapped[name])
    assert found["y"].shape == (1, 4, 3)


def test_a_view_that_declares_a_wrong_shape_is_run_and_refused(tmp_path: Path) -> None:
    def change(spec: Any) -> None:
        for operation in block_of(spec).operations:
            if operation.outputs and operation.outputs[0].name == "there":
                operation.outputs[0].type.tensorType.dimensions[1].constant.size = 2

    path = _views(tmp_path)
    edit(path, change)
    with pytest.raises(milrun.ModelError, match=r"'there' is declared .*1, 2, 4, 3"):
        milrun.load(path).predict({"x": np.ones((3, 4), np.float32)})


def test_no_package_can_name_an_op_of_our_own(tmp_path: Path) -> None:
    path = save(tmp_path / "m.mlpackage", program(lambda x: mb.sigmoid_hard(x=x, alpha=0.5, beta=0.5), [(2,)]))
    file = path / "Data" / "com.apple.CoreML" / "model.mlmodel"
    spec = model_class()()
    spec.ParseFromString(file.read_bytes())
    for operation in spec.mlProgram.functions["main"].block_specializations["CoreML7"].operations:
        if operation.type == "sigmoid_hard":
            operation.type = "fused_attention"
    file.write_bytes(spec.SerializeToString())
    with pytest.raises(milrun.ModelError, match="no implementation in iOS17 for fused_attention"):
        milrun.load(path)
