"""Activations against their formulas in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.special
import torch
from torch import Tensor

import milrun.ops  # noqa: F401 (registers the ops)
from milrun.registry import find
from tests.support.covering import each


def run(type: str, **arguments: Any) -> Tensor:
    found = find(type, "iOS18")
    assert found is not None
    forms = {parameter.name: parameter.form for parameter in found.parameters}
    result = found.run(**{name: torch.tensor(v) if forms[name] is Tensor else v for name, v in arguments.items()})
    assert isinstance(result, Tensor)
    return result


def softplus64(x: Any) -> Any:
    return np.logaddexp(0.0, x)


FORMULAS: list[tuple[str, dict[str, Any], Any]] = [
    ("relu", {}, lambda x: np.maximum(x, 0)),
    ("relu6", {}, lambda x: np.minimum(np.maximum(x, 0), 6)),
    ("leaky_relu", {"alpha": 0.25}, lambda x: np.where(x >= 0, x, 0.25 * x)),
    ("leaky_relu", {"alpha": 2.0}, lambda x: np.where(x >= 0, x, 2 * x)),
    ("clamped_relu", {"alpha": 2.0, "beta": 1.0}, lambda x: np.minimum(1.0, np.where(x >= 0, x, 2 * x))),
    ("clamped_relu", {"alpha": -1.0, "beta": 3.0}, lambda x: np.minimum(3.0, np.where(x >= 0, x, -x))),
    ("thresholded_relu", {"alpha": 1.5}, lambda x: np.where(x >= 1.5, x, 0)),
    ("thresholded_relu", {"alpha": -1.0}, lambda x: np.where(x >= -1, x, 0)),
    ("elu", {"alpha": 2.0}, lambda x: np.where(x > 0, x, 2 * np.expm1(np.minimum(x, 0)))),
    ("elu", {"alpha": 0.5}, lambda x: np.where(x > 0, x, 0.5 * np.expm1(np.minimum(x, 0)))),
    ("gelu", {}, lambda x: 0.5 * x * (1 + scipy.special.erf(x / np.sqrt(2)))),
    ("gelu", {"mode": "EXACT"}, lambda x: 0.5 * x * (1 + scipy.special.erf(x / np.sqrt(2)))),
    (
        "gelu",
        {"mode": "TANH_APPROXIMATION"},
        lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    ),
    ("gelu", {"mode": "SIGMOID_APPROXIMATION"}, lambda x: x * scipy.special.expit(1.702 * x)),
    ("silu", {}, lambda x: x * scipy.special.expit(x)),
    ("sigmoid", {}, scipy.special.expit),
    ("sigmoid_hard", {"alpha": 0.2, "beta": 0.5}, lambda x: np.clip(0.2 * x + 0.5, 0, 1)),
    ("sigmoid_hard", {"alpha": -1.0, "beta": 2.0}, lambda x: np.clip(2 - x, 0, 1)),
    ("linear_activation", {"alpha": 2.0, "beta": 3.0}, lambda x: 2 * x + 3),
    ("linear_activation", {"alpha": -0.5, "beta": -1.0}, lambda x: -0.5 * x - 1),
    ("scaled_tanh", {"alpha": 1.7, "beta": 0.6}, lambda x: 1.7 * np.tanh(0.6 * x)),
    ("softplus", {}, softplus64),
    ("softsign", {}, lambda x: x / (1 + np.abs(x))),
]


@each(
    {
        "shape": [(), (0, 3), (7,), (3, 5), (2, 3, 2, 2, 3)],
        "type, parameters, formula": FORMULAS,
    }
)
def test_an_activation_follows_its_formula(
    type: str, parameters: dict[str, Any], formula: Any, shape: tuple[int, ...]
) -> None:
    x = np.asarray(4 * np.random.default_rng(1).standard_normal(shape), dtype=np.float32)
    before = x.copy()
    y = run(type, x=x, **parameters)
    assert y.shape == shape
    np.testing.assert_allclose(y.numpy(), formula(x.astype(np.float64)), rtol=3e-6, atol=1e-6)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize(("type", "parameters"), [case[:2] for case in FORMULAS])
def test_nan_stays_nan(type: str, parameters: dict[str, Any]) -> None:
    assert run(type, x=np.full(3, np.nan, np.float32), **parameters).isnan().all()


@pytest.mark.parametrize("mode", ["EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION"])
def test_gelu_of_float16_is_computed_in_float32_and_rounded_once(mode: str) -> None:
    x = np.arange(2**16, dtype=np.uint16).view(np.float16)
    x = x[np.isfinite(x)]
    exact = run("gelu", x=x.astype(np.float32), mode=mode).half()
    assert torch.equal(run("gelu", x=x, mode=mode).half(), exact)


def test_gelu_rejects_an_unknown_mode() -> None:
    with pytest.raises(ValueError, match=r"gelu: mode is 'FAST', .*EXACT.*TANH_APPROXIMATION.*SIGMOID_APPROXIMATION"):
        run("gelu", x=np.zeros(2, np.float32), mode="FAST")


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("alpha", [0.1, 1.0, -0.3, 1e-7])
def test_thresholded_relu_keeps_a_value_equal_to_the_threshold(dtype: Any, alpha: float) -> None:
    bound = dtype(alpha)
    x = np.array([np.nextafter(bound, dtype(-9)), bound, np.nextafter(bound, dtype(9))])
    y = run("thresholded_relu", x=x, alpha=float(bound))
    np.testing.assert_array_equal(y.numpy().astype(np.float64), [0, x[1], x[2]])


def test_thresholded_relu_takes_a_threshold_between_two_float32_values() -> None:
    below, above = np.float32(1), np.nextafter(np.float32(1), np.float32(2))
    y = run("thresholded_relu", x=np.array([below, above]), alpha=(float(below) + float(above)) / 2)
    np.testing.assert_array_equal(y.numpy(), [0, above])


def test_softplus_neither_overflows_nor_loses_small_values() -> None:
    x = np.array([-1e4, -100, -80, -20, 0, 15, 19.9, 20.1, 30, 100, 1e4], dtype=np.float32)
    np.testing.assert_allclose(run("softplus", x=x).numpy(), softplus64(x.astype(np.float64)), rtol=1e-6, atol=1e-40)


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 1), (1, 3, 2, 2, 2)])
def test_softplus_parametric_has_parameters_per_channel(shape: tuple[int, ...]) -> None:
    x = np.asarray(50 * np.random.default_rng(2).standard_normal(shape), dtype=np.float32)
    alpha, beta = np.array([1.5, -0.5, 2.0], np.float32), np.array([0.5, 3.0, -40.0], np.float32)
    a, b = (v.astype(np.float64).reshape(3, *(1,) * (len(shape) - 2)) for v in (alpha, beta))
    y = run("softplus_parametric", x=x, alpha=alpha, beta=beta)
    np.testing.assert_allclose(y.numpy(), a * softplus64(b * x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 1), (1, 3, 2, 2, 2), (0, 3, 4)])
def test_prelu_has_a_slope_per_channel(shape: tuple[int, ...]) -> None:
    x = np.asarray(np.random.default_rng(3).standard_normal(shape), dtype=np.float32)
    alpha = np.array([0.1, -2.0, 3.0], np.float32)
    slope = alpha.astype(np.float64).reshape(3, *(1,) * (len(shape) - 2))
    np.testing.assert_allclose(run("prelu", x=x, alpha=alpha).numpy(), np.where(x > 0, x, slope * x), rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "axis"), [((5,), 0), ((3, 4), 0), ((2, 3, 4, 1, 2), -3), ((2, 3, 4), 2), ((0, 3), 1)]
)
def test_softmax_normalizes_over_its_axis(shape: tuple[int, ...], axis: int) -> None:
    x = np.asarray(3 * np.random.default_rng(4).standard_normal(shape), dtype=np.float32)
    e = np.exp(x.astype(np.float64))
    np.testing.assert_allclose(run("softmax", x=x, axis=axis).numpy(), e / e.sum(axis=axis, keepdims=True), rtol=3e-6)


def test_softmax_defaults_to_the_last_axis_and_takes_huge_values() -> None:
    x = np.array([[1e4, 1e4, -1e4], [-3e38, -3e38, -3e38]], dtype=np.float32)
    np.testing.assert_allclose(run("softmax", x=x).numpy(), [[0.5, 0.5, 0], [1 / 3] * 3], rtol=1e-6)
