"""Normalizations against their formulas in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import milrun.ops  # noqa: F401 (registers the ops)
from milrun.registry import find
from tests.support.covering import each

Array = np.ndarray[Any, np.dtype[Any]]


def run(type: str, **arguments: Any) -> Tensor:
    found = find(type, "iOS18")
    assert found is not None
    tensors = {name: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for name, v in arguments.items()}
    result = found.run(**tensors)
    assert isinstance(result, Tensor)
    return result


def normal(seed: int, shape: tuple[int, ...], scale: float = 3.0, offset: float = 0.0) -> Array:
    return np.asarray(offset + scale * np.random.default_rng(seed).standard_normal(shape), dtype=np.float32)


def channels(values: Array, rank: int) -> Array:
    return values.astype(np.float64).reshape(-1, *(1,) * (rank - 2))


def standardized(x: Array, axes: tuple[int, ...], epsilon: float) -> Array:
    x = x.astype(np.float64)
    return np.asarray((x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon))


SPATIAL = [(2, 3, 4), (2, 3, 4, 5), (1, 3, 2, 2, 3), (2, 3, 1), (1, 3, 1, 1), (0, 3, 4), (2, 3, 0)]


@each(
    {
        "affine": ["", "gamma", "beta", "gamma beta"],
        "shape": SPATIAL,
    }
)
def test_batch_norm_uses_the_given_statistics(shape: tuple[int, ...], affine: str) -> None:
    x, mean = normal(1, shape), normal(2, (3,))
    variance = np.array([0.5, 2.0, 9.0], dtype=np.float32)
    extra = {name: normal(3 + i, (3,)) for i, name in enumerate(affine.split())}
    rank = len(shape)
    expected = (x - channels(mean, rank)) / np.sqrt(channels(variance, rank) + 1e-5)
    expected = expected * channels(extra["gamma"], rank) if "gamma" in extra else expected
    expected = expected + channels(extra["beta"], rank) if "beta" in extra else expected
    y = run("batch_norm", x=x, mean=mean, variance=variance, **extra)
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-5, atol=1e-5)


def test_batch_norm_adds_epsilon_to_the_variance() -> None:
    x, zero = np.full((1, 1, 2), 6.0, np.float32), np.zeros(1, np.float32)
    assert run("batch_norm", x=x, mean=zero, variance=zero, epsilon=4.0).tolist() == [[[3.0, 3.0]]]


@each(
    {
        "affine": ["", "gamma", "beta", "gamma beta"],
        "shape": SPATIAL,
    }
)
def test_instance_norm_takes_statistics_per_sample_and_channel(shape: tuple[int, ...], affine: str) -> None:
    x = normal(4, shape, offset=5.0)
    extra = {name: normal(5 + i, (3,)) for i, name in enumerate(affine.split())}
    rank = len(shape)
    expected = standardized(x, tuple(range(2, rank)), 1e-2) if x.size else x
    expected = expected * channels(extra["gamma"], rank) if "gamma" in extra else expected
    expected = expected + channels(extra["beta"], rank) if "beta" in extra else expected
    y = run("instance_norm", x=x, epsilon=1e-2, **extra)
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-4, atol=1e-5)


LAYERS: list[tuple[tuple[int, ...], list[int] | None]] = [
    ((7,), None),
    ((3, 5), [1]),
    ((3, 5), [-1]),
    ((3, 5), [0]),
    ((2, 3, 4), None),
    ((2, 3, 4), [1, 2]),
    ((2, 3, 4), [-1, -2]),
    ((2, 3, 4), [0, 2]),
    ((2, 3, 4), [-2]),
    ((2, 5, 1, 3), [1]),
    ((2, 3, 4, 5), [3, 0, 1]),
    ((2, 3, 2, 2, 3), [0, 4]),
    ((2, 3, 2, 2, 3), [-5, -4, -3, -2, -1]),
    ((0, 4), [1]),
    ((4, 0), [0]),
]


@each(
    {
        "affine": ["", "gamma", "beta", "gamma beta"],
        "shape, axes": LAYERS,
    }
)
def test_layer_norm_normalizes_over_any_axes(shape: tuple[int, ...], axes: list[int] | None, affine: str) -> None:
    rank = len(shape)
    over = sorted(axis % rank for axis in (range(rank) if axes is None else axes))
    x = normal(6, shape, offset=2.0)
    before = x.copy()
    extra = {name: normal(7 + i, tuple(shape[a] for a in over)) for i, name in enumerate(affine.split())}
    full = [shape[a] if a in over else 1 for a in range(rank)]
    expected = standardized(x, tuple(over), 1e-3)
    expected = expected * extra["gamma"].reshape(full) if "gamma" in extra else expected
    expected = expected + extra["beta"].reshape(full) if "beta" in extra else expected
    y = run("layer_norm", x=x, axes=axes, epsilon=1e-3, **extra)
    assert y.shape == shape
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("axes", [[2], [1]])
def test_layer_norm_stays_accurate_far_from_zero(axes: list[int]) -> None:
    x = normal(8, (2, 64, 64), scale=1.0, offset=300.0)
    y = run("layer_norm", x=x, axes=axes)
    np.testing.assert_allclose(y.numpy(), standardized(x, tuple(axes), 1e-5), atol=2e-4)


@pytest.mark.parametrize("shape", [(2, 3, 4), (3, 2, 4, 5), (2, 3, 2, 1, 4), (0, 2, 3, 4)])
@pytest.mark.parametrize("epsilon", [1e-4, 5.7])
def test_l2_norm_divides_by_the_length_over_the_last_three_axes(shape: tuple[int, ...], epsilon: float) -> None:
    x = normal(9, shape)
    wide = x.astype(np.float64)
    expected = wide / np.sqrt((wide**2).sum((-3, -2, -1), keepdims=True) + epsilon)
    np.testing.assert_allclose(run("l2_norm", x=x, epsilon=epsilon).numpy(), expected, rtol=3e-6)


@pytest.mark.parametrize(
    ("type", "arguments"),
    [("l2_norm", {}), ("layer_norm", {"axes": [2]}), ("layer_norm", {"axes": [1]}), ("instance_norm", {})],
)
def test_zeros_stay_zeros_by_the_default_epsilon(type: str, arguments: dict[str, Any]) -> None:
    assert run(type, x=np.zeros((2, 3, 4), np.float32), **arguments).count_nonzero() == 0


def local_response(x: Array, channel: int, size: int, alpha: float, beta: float, k: float) -> Array:
    wide = np.moveaxis(x.astype(np.float64), channel, 0)
    scale = np.empty_like(wide)
    for c in range(len(wide)):
        window = wide[max(c - size // 2, 0) : c + (size - 1) // 2 + 1]
        scale[c] = (k + alpha / size * (window**2).sum(0)) ** beta
    return np.moveaxis(wide / scale, 0, channel)


@each(
    {
        "size, alpha, beta, k": [
            (1, 0.5, 0.75, 1.0),
            (2, 1.0, 0.75, 1.0),
            (3, 0.5, 0.5, 2.0),
            (5, 0.3, 1.0, 1.0),
            (12, 0.3, 0.75, 1.0),
        ],
        "shape, channel": [((5, 2, 3), 0), ((2, 6, 3, 4), 1), ((2, 4, 3, 2, 2), 1), ((0, 4, 2, 2), 1)],
    }
)
def test_local_response_norm_divides_by_the_energy_of_neighbouring_channels(
    shape: tuple[int, ...], channel: int, size: int, alpha: float, beta: float, k: float
) -> None:
    x = normal(10, shape)
    y = run("local_response_norm", x=x, size=size, alpha=alpha, beta=beta, k=k)
    np.testing.assert_allclose(y.numpy(), local_response(x, channel, size, alpha, beta, k), rtol=1e-5)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (2, [[0.99996257, -6.98716545], [4.99531746, -5.99191284], [-2.99898791, -4.99531746]]),
        (3, [[0.99997497, -6.99143696], [4.99687672, -5.99460602], [-2.99932504, -4.99687672]]),
    ],
)
def test_local_response_norm_of_rank_3_has_its_channels_first(size: int, expected: list[list[float]]) -> None:
    x = np.array([[[1.0, -7.0], [5.0, -6.0], [-3.0, -5.0]]], dtype=np.float32)
    np.testing.assert_allclose(run("local_response_norm", x=x, size=size).numpy(), [expected], rtol=1e-6)
