"""Matrix products and attention against numpy in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import milrun.ops  # noqa: F401 (registers the ops)
from milrun.registry import find, preparers
from tests.support.covering import each, pairs

Array = np.ndarray[Any, np.dtype[Any]]


def run(type: str, **arguments: Any) -> Tensor:
    found = find(type, "iOS18")
    assert found is not None
    tensors = {name: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for name, v in arguments.items()}
    result = found.run(**tensors)
    assert isinstance(result, Tensor)
    return result


def normal(seed: int, shape: tuple[int, ...]) -> Array:
    return np.asarray(np.random.default_rng(seed).standard_normal(shape), dtype=np.float32)


def integers(seed: int, shape: tuple[int, ...], high: int = 20000) -> Array:
    return np.random.default_rng(seed).integers(-high, high, shape).astype(np.int32)


LINEAR_SHAPES = [(4,), (1, 4), (3, 4), (2, 3, 4), (2, 1, 2, 3, 4), (0, 4), (2, 0, 4)]


@each(
    {
        "with_bias": [False, True],
        "shape": LINEAR_SHAPES,
    }
)
def test_linear_multiplies_by_the_transposed_weight(shape: tuple[int, ...], with_bias: bool) -> None:
    x, weight, bias = normal(1, shape), normal(2, (5, 4)), normal(3, (5,))
    expected = x.astype(np.float64) @ weight.astype(np.float64).T + (bias if with_bias else 0)
    y = run("linear", x=x, weight=weight, **({"bias": bias} if with_bias else {}))
    assert y.shape == (*shape[:-1], 5)
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", LINEAR_SHAPES)
def test_linear_of_integers_is_exact(shape: tuple[int, ...]) -> None:
    x, weight, bias = integers(4, shape), integers(5, (5, 4)), integers(6, (5,))
    y = run("linear", x=x, weight=weight, bias=bias)
    np.testing.assert_array_equal(y.numpy(), x.astype(np.int64) @ weight.astype(np.int64).T + bias)


@pytest.mark.parametrize(("x_type", "weight_type"), [(np.float32, np.int32), (np.int32, np.float32)])
def test_linear_takes_a_weight_of_another_type(x_type: Any, weight_type: Any) -> None:
    x, weight = integers(7, (2, 3, 4), 10), integers(8, (5, 4), 10)
    bias = integers(9, (5,), 10)
    y = run("linear", x=x.astype(x_type), weight=weight.astype(weight_type), bias=bias.astype(weight_type))
    np.testing.assert_array_equal(y.numpy(), x @ weight.T + bias)


@each(
    {
        "with_bias": [False, True],
        "lead": [(), (1,), (7,), (2, 3), (2, 1, 1, 3), (0,)],
    }
)
def test_a_large_constant_weight_is_packed_at_load(lead: tuple[int, ...], with_bias: bool) -> None:
    prepare = preparers("linear")[0]
    assert prepare is not None
    x, weight, bias = normal(10, (*lead, 513)), normal(11, (520, 513)), normal(12, (520,))
    kernel = prepare(torch.from_numpy(weight), torch.from_numpy(bias) if with_bias else None)
    assert kernel is not None
    expected = x.astype(np.float64) @ weight.astype(np.float64).T + (bias if with_bias else 0)
    y = kernel(x=torch.from_numpy(x))
    assert y.shape == (*lead, 520)
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-4, atol=2e-4)


def test_integer_weights_are_left_as_they_are() -> None:
    for type in ("linear", "matmul"):
        prepare = preparers(type)[0]
        assert prepare is not None
        assert prepare(torch.zeros(600, 600, dtype=torch.int32)) is None


def test_a_bias_of_zeros_is_not_added() -> None:
    prepare = preparers("linear")[0]
    assert prepare is not None
    weight, x = torch.arange(6.0).reshape(2, 3), torch.tensor([[1.0, -2.0, 0.5]])
    kernel = prepare(weight, torch.zeros(2))
    assert kernel is not None
    assert kernel(x).tolist() == [[-1.0, -2.5]]
    kernel = prepare(weight, torch.tensor([1.0, 0.0]))
    assert kernel is not None
    assert kernel(x).tolist() == [[0.0, -2.5]]


@pytest.mark.parametrize("transpose_y", [False, True])
@pytest.mark.parametrize(
    ("shape", "transpose_x"), [((513,), False), ((2, 3, 513), False), ((2, 513, 3), True), ((0, 513), False)]
)
def test_a_large_constant_matrix_is_packed_at_load(
    shape: tuple[int, ...], transpose_x: bool, transpose_y: bool
) -> None:
    prepare = preparers("matmul")[0]
    assert prepare is not None
    x, y = normal(13, shape), normal(14, (513, 520))
    constant = np.ascontiguousarray(y.T) if transpose_y else y
    kernel = prepare(torch.from_numpy(constant), transpose_x, transpose_y)
    assert kernel is not None
    expected = (np.swapaxes(x, -1, -2) if transpose_x else x).astype(np.float64) @ y.astype(np.float64)
    result = kernel(x=torch.from_numpy(x))
    assert result.shape == expected.shape
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-4, atol=2e-4)


def test_a_constant_of_more_axes_is_not_packed() -> None:
    prepare = preparers("matmul")[0]
    assert prepare is not None
    assert prepare(torch.zeros(2, 600, 600)) is None


MATRICES = [
    ((4,), (4,)),
    ((4,), (4, 3)),
    ((4,), (2, 4, 3)),
    ((2, 3, 4), (4,)),
    ((3, 4), (4, 2)),
    ((3, 2, 3, 4), (3, 2, 4, 5)),
    ((1, 1, 1, 3, 4), (1, 3, 2, 4, 5)),
    ((10, 4, 3), (5, 10, 3, 2)),
    ((7, 4), (3, 2, 5, 4, 3)),
    ((0, 4), (4, 3)),
    ((3, 0), (0, 2)),
]


@each(
    {
        "dtype": [np.float32, np.int32],
        "left, right": MATRICES,
    }
)
def test_matmul_broadcasts_its_leading_axes(left: tuple[int, ...], right: tuple[int, ...], dtype: Any) -> None:
    x, y = (np.asarray(integers(15, shape, 12000)) for shape in (left, right))
    result = run("matmul", x=x.astype(dtype), y=y.astype(dtype))
    expected = x.astype(np.int64) @ y.astype(np.int64)
    assert result.shape == np.shape(expected)
    np.testing.assert_allclose(
        result.numpy(), expected, rtol=0 if dtype is np.int32 else 1e-5, atol=0 if dtype is np.int32 else 200
    )


@pairs(
    {
        "transpose_x": [False, True],
        "transpose_y": [False, True],
        "x_lead, y_lead": [((), ()), ((2, 1), (3,)), ((2, 1, 3), (2, 3, 1))],
    }
)
def test_matmul_transposes_the_last_two_axes(
    x_lead: tuple[int, ...], y_lead: tuple[int, ...], transpose_x: bool, transpose_y: bool
) -> None:
    x, y = normal(16, (*x_lead, 3, 4)), normal(17, (*y_lead, 4, 5))
    expected = x.astype(np.float64) @ y.astype(np.float64)
    given_x = np.ascontiguousarray(np.swapaxes(x, -1, -2)) if transpose_x else x
    given_y = np.ascontiguousarray(np.swapaxes(y, -1, -2)) if transpose_y else y
    result = run("matmul", x=given_x, y=given_y, transpose_x=transpose_x, transpose_y=transpose_y)
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-5, atol=1e-5)


def test_transposing_has_no_effect_on_one_axis() -> None:
    x, y = normal(18, (4,)), normal(19, (4, 3))
    expected = x.astype(np.float64) @ y.astype(np.float64)
    np.testing.assert_allclose(run("matmul", x=x, y=y, transpose_x=True).numpy(), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        run("matmul", x=np.ascontiguousarray(y.T), y=x, transpose_y=True).numpy(), expected, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(("x_type", "y_type"), [(np.float32, np.int32), (np.int32, np.float32)])
def test_matmul_takes_a_constant_of_another_type(x_type: Any, y_type: Any) -> None:
    x, y = integers(20, (2, 5), 10), integers(21, (5, 3), 10)
    np.testing.assert_array_equal(run("matmul", x=x.astype(x_type), y=y.astype(y_type)).numpy(), x @ y)


@pytest.mark.parametrize(
    ("equation", "left", "right"),
    [
        ("nchw,nwhu->nchu", (2, 3, 4, 5), (2, 5, 4, 6)),
        ("abcd,adce->abce", (2, 1, 3, 2), (2, 2, 3, 4)),
        ("abcd,adce->abce", (1, 3, 4, 5), (2, 5, 1, 6)),
        ("chw,whr->chr", (3, 4, 5), (5, 4, 2)),
        ("vnm,mno->vno", (3, 4, 5), (5, 1, 2)),
        ("vnm,mno->vno", (3, 1, 5), (5, 4, 2)),
    ],
)
def test_einsum_multiplies_axis_3_from_the_end_and_broadcasts_the_batch(
    equation: str, left: tuple[int, ...], right: tuple[int, ...]
) -> None:
    x, y = normal(22, left), normal(23, right)
    wide_x, wide_y = x.astype(np.float64), y.astype(np.float64)
    # The height and the batch, that both have, are in the second and the fourth axis from the end.
    expected = np.swapaxes(np.swapaxes(wide_x, -2, -3) @ np.swapaxes(wide_y, -2, -3), -2, -3)
    result = run("einsum", values=[torch.from_numpy(x), torch.from_numpy(y)], equation=equation)
    assert result.shape == expected.shape
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("equation", "left", "right"),
    [("bhqd,bhkd->bhqk", (2, 3, 4, 5), (2, 3, 6, 5)), ("ij,jk->ki", (2, 3), (3, 4)), ("i,j->ij", (2,), (3,))],
)
def test_einsum_takes_other_equations_as_well(equation: str, left: tuple[int, ...], right: tuple[int, ...]) -> None:
    x, y = normal(24, left), normal(25, right)
    result = run("einsum", values=[torch.from_numpy(x), torch.from_numpy(y)], equation=equation)
    expected = np.einsum(equation, x.astype(np.float64), y.astype(np.float64))
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-5, atol=1e-5)


def attention(query: Array, key: Array, value: Array, mask: Array | None) -> Array:
    scores = query.astype(np.float64) @ np.swapaxes(key, -1, -2) / np.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores + (np.where(mask, 0.0, -np.inf) if mask.dtype == bool else mask)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return np.asarray((weights / weights.sum(-1, keepdims=True)) @ value)


@each(
    {
        "dtype": [np.bool_, np.float32, np.float16],
        "lead, mask_shape": [
            ((3,), None),
            ((3,), (5,)),
            ((3,), (7, 5)),
            ((3,), (1, 1, 5)),
            ((3,), (3, 7, 5)),
            ((2, 3), None),
            ((2, 3), (7, 5)),
            ((2, 3), (3, 1, 5)),
            ((2, 3), (2, 1, 7, 5)),
            ((2, 3, 2), None),
            ((2, 3, 2), (1, 5)),
            ((2, 3, 2), (3, 1, 7, 5)),
            ((2, 3, 2), (2, 1, 2, 7, 5)),
            ((0, 3), None),
        ],
    }
)
def test_attention_weighs_values_by_the_softmax_of_masked_scores(
    lead: tuple[int, ...], mask_shape: tuple[int, ...] | None, dtype: Any
) -> None:
    query, key, value = normal(26, (*lead, 7, 8)), normal(27, (*lead, 5, 8)), normal(28, (*lead, 5, 6))
    mask = None
    if mask_shape is not None:
        mask = np.random.default_rng(29).integers(0, 2, mask_shape).astype(dtype)
        mask[..., 2] = True
    y = run("scaled_dot_product_attention", query=query, key=key, value=value, attn_mask=mask)
    assert y.shape == (*lead, 7, 6)
    np.testing.assert_allclose(y.numpy(), attention(query, key, value, mask), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("lead", [(2,), (1, 2), (1, 1, 2)])
def test_attention_takes_a_mask_of_infinities(lead: tuple[int, ...]) -> None:
    query, key, value = (normal(seed, (*lead, 6, 8)) for seed in (30, 31, 32))
    causal = np.where(np.tri(6, dtype=bool), 0, -np.inf).astype(np.float32)
    y = run("scaled_dot_product_attention", query=query, key=key, value=value, attn_mask=causal)
    np.testing.assert_allclose(y.numpy(), attention(query, key, value, causal), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mask", [np.tri(3, 5, -1, dtype=bool), np.where(np.tri(3, 5, -1), 0, -np.inf)])
@pytest.mark.parametrize("lead", [(2,), (1, 2), (1, 1, 2)])
def test_a_row_that_is_masked_in_full_attends_to_nothing_and_is_nan(lead: tuple[int, ...], mask: Any) -> None:
    query, key, value = (normal(seed, (*lead, size, 8)) for seed, size in ((33, 3), (34, 5), (35, 5)))
    y = run("scaled_dot_product_attention", query=query, key=key, value=value, attn_mask=mask)
    assert y[..., 0, :].isnan().all()
    expected = attention(query[..., 1:, :], key, value, mask[1:])
    np.testing.assert_allclose(y[..., 1:, :], expected, rtol=1e-4, atol=1e-5)


def test_attention_exists_from_ios18_on() -> None:
    assert find("scaled_dot_product_attention", "iOS17") is None
