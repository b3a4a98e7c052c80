"""Random ops: the laws of their distributions, and where their numbers come from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from milrun.registry import find

import milrun.ops  # noqa: F401 isort: skip (registers the ops)
from tests.support.covering import each

OPS: list[tuple[str, dict[str, Any]]] = [
    ("random_bernoulli", {"shape": [50]}),
    ("random_normal", {"shape": [50]}),
    ("random_uniform", {"shape": [50]}),
    ("random_categorical", {"x": torch.zeros(4), "size": 50}),
]


def run(op: str, generator: int | torch.Generator = 0, **arguments: Any) -> np.ndarray:
    definition = find(op, "iOS15")
    assert definition is not None
    if isinstance(generator, int):
        generator = torch.Generator().manual_seed(generator)
    return definition.run(generator=generator, **arguments).numpy()


@pytest.mark.parametrize(("op", "arguments"), OPS)
def test_without_a_seed_numbers_come_from_the_generator_of_the_model(op: str, arguments: dict[str, Any]) -> None:
    shared = torch.Generator().manual_seed(7)
    first, second = run(op, shared, **arguments), run(op, shared, **arguments)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, run(op, 7, **arguments))


@pytest.mark.parametrize(("op", "arguments"), OPS)
@pytest.mark.parametrize("seed", [0, 2**31 - 1])
def test_with_a_seed_every_call_gives_the_same_numbers(op: str, arguments: dict[str, Any], seed: int) -> None:
    shared = torch.Generator().manual_seed(7)
    before = shared.get_state()
    first = run(op, shared, seed=seed, **arguments)
    assert torch.equal(shared.get_state(), before)
    np.testing.assert_array_equal(first, run(op, 8, seed=seed, **arguments))
    assert not np.array_equal(first, run(op, 8, seed=seed - 1 if seed else 1, **arguments))


@each(
    {
        "shape": [[], [3], [2, 0], [1, 2, 3, 1, 2]],
        "op": ["random_bernoulli", "random_normal", "random_uniform"],
    }
)
def test_numbers_have_the_shape_asked_for(op: str, shape: list[int]) -> None:
    y = run(op, shape=shape)
    assert (y.shape, y.dtype) == (tuple(shape), np.float32)


def test_bernoulli_gives_ones_with_its_probability() -> None:
    y = run("random_bernoulli", shape=[100, 100], prob=0.2)
    assert set(np.unique(y)) == {0, 1}
    assert abs(y.mean() - 0.2) < 0.02
    assert run("random_bernoulli", shape=[100], prob=0.0).sum() == 0
    assert run("random_bernoulli", shape=[100], prob=1.0).sum() == 100


def test_normal_has_its_mean_and_deviation() -> None:
    y = run("random_normal", shape=[100, 100], mean=3.0, stddev=0.5)
    assert abs(y.mean() - 3) < 0.02
    assert abs(y.std() - 0.5) < 0.02
    assert abs(((y - y.mean()) ** 4).mean() / y.std() ** 4 - 3) < 0.2


def test_uniform_fills_its_interval_evenly() -> None:
    y = run("random_uniform", shape=[100, 100], low=-2.0, high=6.0)
    assert -2 <= y.min() < y.max() < 6
    np.testing.assert_allclose(np.histogram(y, 4, (-2, 6))[0] / y.size, 0.25, atol=0.03)
    np.testing.assert_array_equal(run("random_uniform", shape=[5], low=1.5, high=1.5), np.full(5, 1.5))


@pytest.mark.parametrize(
    ("mode", "transform"), [("logits", np.log), ("probs", lambda p: p), ("probs", lambda p: 5 * p)]
)
def test_categorical_draws_classes_by_their_probability(mode: str, transform: Any) -> None:
    probabilities = np.array([[0.1, 0.2, 0.7], [0.6, 0.3, 0.1]])
    x = torch.from_numpy(transform(probabilities).astype(np.float32))
    y = run("random_categorical", x=x, mode=mode, size=10000)
    assert (y.shape, y.dtype) == ((2, 10000), np.float32)
    shares = [[(row == i).mean() for i in range(3)] for row in y]
    np.testing.assert_allclose(shares, probabilities, atol=0.03)


@pytest.mark.parametrize("shape", [(3,), (2, 3), (1, 2, 3, 2, 4)])
def test_categorical_keeps_the_leading_axes(shape: tuple[int, ...]) -> None:
    certain = torch.full(shape, -1e4)
    certain[..., 1] = 0
    np.testing.assert_array_equal(run("random_categorical", x=certain), np.ones((*shape[:-1], 1)))


def test_categorical_refuses_another_mode() -> None:
    with pytest.raises(ValueError, match="logits, probs"):
        run("random_categorical", x=torch.zeros(3), mode="odds")
