"""What the three numerics promise: fp32 throughout; one rounding per op; the hazards named, and no others."""

from __future__ import annotations

from pathlib import Path

import coremltools as ct
import numpy as np
import pytest
import torch
from coremltools.converters.mil import Builder as mb  # noqa: N813

import milrun
from milrun import ops  # noqa: F401 (registers the ops)
from milrun.hazards import RULES
from milrun.numerics import ROUND_ONCE
from milrun.registry import find
from tests.milrun.packages import program, save

_EVERY_HALF = torch.arange(65536, dtype=torch.int32).to(torch.int16).view(torch.float16)
_BINARY = {"add", "sub", "mul", "real_div"}
_ATTRIBUTES = {
    "leaky_relu": {"alpha": 0.1},
    "clip": {"alpha": -1.5, "beta": 2.25},
    "elu": {"alpha": 0.7},
    "threshold": {"alpha": 0.5},
    "reduce_mean": {"axes": [-1]},
}


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.dtype == b.dtype and bool(((a == b) | (a.isnan() & b.isnan())).all())


@pytest.mark.parametrize("op_type", sorted(ROUND_ONCE - _BINARY))
def test_fp16_kernels_round_once_for_every_fp16_value(op_type: str) -> None:
    every = _EVERY_HALF.view(256, 256)
    run, attributes = find(op_type, "iOS17").run, _ATTRIBUTES.get(op_type, {})  # type: ignore[union-attr]
    for layout, x in {"contiguous": every, "transposed": every.t(), "short": every[100, :7]}.items():
        assert _same(run(x, **attributes), run(x.float(), **attributes).half()), layout


@pytest.mark.parametrize("op_type", sorted(ROUND_ONCE & _BINARY))
def test_fp16_arithmetic_rounds_once(op_type: str) -> None:
    run = find(op_type, "iOS17").run  # type: ignore[union-attr]
    generator = torch.Generator().manual_seed(0)
    for _ in range(8):
        y = _EVERY_HALF[torch.randperm(65536, generator=generator)]
        assert _same(run(_EVERY_HALF, y), run(_EVERY_HALF.float(), y.float()).half())
        assert _same(run(_EVERY_HALF, y[0]), run(_EVERY_HALF.float(), y[0].float()).half())


@pytest.mark.parametrize("axes", [[2], [1], [0, 2], None])
def test_fp16_means_round_once(axes: list[int] | None) -> None:
    run = find("reduce_mean", "iOS17").run  # type: ignore[union-attr]
    generator = torch.Generator().manual_seed(0)
    for size in (1e-4, 1.0, 1e3, 3e4):
        values = (torch.rand(3, 80, 27, generator=generator) * size).half()
        for layout, x in {"contiguous": values, "transposed": values.mT, "strided": values[..., ::2]}.items():
            for keep in (False, True):
                assert _same(run(x, axes, keep), run(x.float(), axes, keep).half()), layout


def _chain(folder: Path, half: bool) -> Path:
    def body(x):  # type: ignore[no-untyped-def]
        y = mb.mul(x=x, y=np.float32(1.001), name="scaled")
        y = mb.sqrt(x=mb.mul(x=y, y=y, name="squared"), name="root")
        return mb.reduce_sum(x=y, axes=[1], name="total")

    return save(folder / "chain.mlpackage", program(body, [(4, 300)]), half=half, outputs=[ct.TensorType("total")])


def test_declared_computes_in_fp32_and_rounds_every_result_to_fp16(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((4, 300)).astype(np.float32)
    taps = {tap.name: tap.tensor for tap in milrun.load(_chain(tmp_path, half=True)).trace({"x": x})}
    scaled = (x.astype(np.float16).astype(np.float64) * np.float16(1.001)).astype(np.float16)
    squared = (scaled.astype(np.float64) ** 2).astype(np.float16)
    root = np.sqrt(squared.astype(np.float32)).astype(np.float16)
    total = root.astype(np.float64).sum(1)
    found = {name.removesuffix("_cast_fp16"): tensor for name, tensor in taps.items()}
    assert found["squared"].dtype == torch.float16
    np.testing.assert_array_equal(found["scaled"].numpy(), scaled)
    np.testing.assert_array_equal(found["squared"].numpy(), squared)
    np.testing.assert_array_equal(found["root"].numpy(), root)
    np.testing.assert_allclose(found["total"].numpy(), total, rtol=2**-11)


def test_fp32_ignores_the_fp16_that_the_package_declares(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((4, 300)).astype(np.float32)
    (found,) = milrun.load(_chain(tmp_path, half=True), numerics="fp32").predict({"x": x}).values()
    expected = np.abs(x.astype(np.float64) * np.float16(1.001)).sum(1)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_fp16_overflows_to_infinity_in_declared_and_not_in_fp32(tmp_path: Path) -> None:
    def body(x):  # type: ignore[no-untyped-def]
        return mb.real_div(x=mb.mul(x=x, y=x), y=np.float32(256.0), name="y")

    path = save(tmp_path / "m.mlpackage", program(body, [(2,)]), half=True)
    x = {"x": np.array([300.0, 2.0], np.float32)}
    assert np.isinf(milrun.load(path).predict(x)["y"][0])
    np.testing.assert_allclose(milrun.load(path, numerics="fp32").predict(x)["y"][0], 90000 / 256, rtol=1e-6)


def test_outputs_have_the_declared_types(tmp_path: Path) -> None:
    path = save(tmp_path / "m.mlpackage", program(lambda x: mb.argsort(x=x, name="y"), [(3,)]))
    assert milrun.load(path).predict({"x": np.array([3.0, 1.0, 2.0])})["y"].dtype == np.int32


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_each_hazard_rule_moves_what_it_is_about_and_cites_its_source(rule, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    assert rule.chip
    assert rule.source
    body, x = _SENSITIVE[rule.name]
    path = save(tmp_path / "m.mlpackage", program(body, [x.shape]), half=True)
    plain = milrun.load(path).predict({"x": x})
    bent = milrun.load(path, numerics="ane", rules=[rule.name]).predict({"x": x})
    others = [r.name for r in RULES if r.name != rule.name]
    spared = milrun.load(path, numerics="ane", rules=others).predict({"x": x})
    assert not np.array_equal(plain["y"], bent["y"])
    np.testing.assert_array_equal(plain["y"], spared["y"])


_LINE = np.linspace(-3, 3, 97, dtype=np.float32)[None]
_SENSITIVE = {
    "accumulator_overflow": (
        lambda x: mb.linear(x=x, weight=np.full((2, 64), 32.0, np.float32), name="y"),
        np.full((1, 64), 20.0, np.float32),
    ),
    "flush_subnormals": (
        lambda x: mb.linear(x=x, weight=np.full((2, 64), 32.0, np.float32), name="y"),
        np.full((1, 64), 2.0**-15, np.float32),
    ),
    "narrow_reduce_sum": (lambda x: mb.reduce_sum(x=x, axes=[1], name="y"), np.ones((1, 3000), np.float32)),
    "flush_epsilon": (
        lambda x: mb.rsqrt(x=x, epsilon=np.float32(1e-9), name="y"),
        np.zeros((1, 4), np.float32),
    ),
    "activation_table": (lambda x: mb.sigmoid(x=x, name="y"), _LINE),
    "triangular_cumsum": (
        lambda x: mb.cumsum(x=x, axis=1, name="y"),
        np.full((1, 400), 100.0, np.float32),
    ),
    "softplus_overflow": (lambda x: mb.softplus(x=x, name="y"), 5 * _LINE),
    "width_slice_gain": (
        lambda x: mb.slice_by_index(x=x, begin=[0, 3], end=[1, 60], name="y"),
        2000 * _LINE,
    ),
}


def test_hazard_rules_belong_to_ane_alone(tmp_path: Path) -> None:
    path = save(tmp_path / "m.mlpackage", program(lambda x: mb.relu(x=x), [(3,)]))
    with pytest.raises(ValueError, match="belong to numerics 'ane'"):
        milrun.load(path, rules=["activation_table"])
    with pytest.raises(ValueError, match="unknown hazard rule 'nonsense', one of accumulator_overflow"):
        milrun.load(path, numerics="ane", rules=["nonsense"])
    with pytest.raises(ValueError, match="unknown numerics 'fp8', one of fp32, declared, ane"):
        milrun.load(path, numerics="fp8")
