"""Pooling against loops over windows in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import milrun.ops  # noqa: F401 (registers the ops)
from milrun.registry import find, preparers
from tests.support.covering import pairs

RNG = np.random.default_rng(12)


def run(op: str, x: np.ndarray, **attributes: Any) -> np.ndarray:
    found = find(op, "iOS16")
    assert found is not None
    return found.run(x=torch.from_numpy(x), **attributes).numpy()


def prepared(op: str, *arguments: Any, **attributes: Any) -> Callable[..., Any]:
    preparer = preparers(op)[0]
    assert preparer is not None
    kernel = preparer(*arguments, **attributes)
    assert kernel is not None
    return kernel


def random(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def windows(size: int, kernel: int, stride: int, before: int, after: int, ceil: bool) -> list[tuple[int, int]]:
    """Start and end of each window, in elements of the unpadded input."""
    count = int(np.floor((size + before + after - kernel + (stride - 1 if ceil else 0)) / stride)) + 1
    if ceil and before + after > 0 and (count - 1) * stride >= size + (before + after) / 2:
        count -= 1
    return [(i * stride - before, i * stride - before + kernel) for i in range(count)]


def pooled(op: str, x: Any, kernel: Any, strides: Any, pad: Any, ceil: bool = False, exclude: bool = False) -> Any:
    n = len(kernel)
    axes = [windows(x.shape[2 + i], kernel[i], strides[i], pad[2 * i], pad[2 * i + 1], ceil) for i in range(n)]
    out = np.empty((*x.shape[:2], *map(len, axes)))
    for place in np.ndindex(*map(len, axes)):
        spans = [axes[i][place[i]] for i in range(n)]
        inside = tuple(slice(max(a, 0), max(b, 0)) for a, b in spans)
        values = x[(slice(None), slice(None), *inside)].astype(np.float64).reshape(*x.shape[:2], -1)
        # What an overhang of ceil_mode covers beyond the padding does not count.
        covered = np.prod([min(b, x.shape[2 + i] + pad[2 * i + 1]) - a for i, (a, b) in enumerate(spans)])
        if op == "max_pool":
            result = values.max(-1, initial=-np.inf)
        elif op == "l2_pool":
            result = np.sqrt((values**2).sum(-1))
        else:
            result = values.sum(-1) / (values.shape[-1] if exclude else covered)
        out[(slice(None), slice(None), *place)] = result
    return out


CUSTOM = [
    # size, kernel, strides, pad, ceil_mode
    ((7,), [3], [1], [0, 0], False),
    ((7,), [3], [2], [1, 1], False),
    ((7,), [2], [2], [1, 0], False),
    ((8,), [3], [2], [0, 0], True),
    ((7,), [2], [2], [1, 1], True),
    ((5,), [3], [3], [1, 1], True),
    ((6,), [5], [4], [3, 3], True),
    ((6, 7), [2, 3], [2, 1], [0, 0, 0, 0], False),
    ((6, 7), [2, 3], [2, 2], [1, 0, 0, 2], False),
    ((6, 7), [3, 3], [2, 2], [1, 1, 1, 1], True),
    ((6, 8), [3, 2], [2, 3], [1, 1, 0, 0], True),
    ((6, 5), [2, 2], [1, 2], [2, 2, 1, 1], False),
    ((4, 5, 6), [2, 3, 2], [1, 2, 2], [1, 0, 1, 1, 0, 1], False),
    ((4, 5, 6), [2, 2, 2], [2, 2, 2], [0, 0, 0, 0, 0, 0], False),
    ((2, 3, 4), [4, 1, 2], [2, 1, 1], [1, 1, 0, 0, 0, 0], False),
]


@pytest.mark.parametrize(("size", "kernel", "strides", "pad", "ceil"), CUSTOM)
@pytest.mark.parametrize("op", ["max_pool", "avg_pool", "l2_pool"])
def test_pooling_reduces_each_window(
    op: str, size: tuple[int, ...], kernel: Any, strides: list[int], pad: Any, ceil: bool
) -> None:
    x = random(2, 3, *size)
    got = run(op, x, kernel_sizes=kernel, strides=strides, pad_type="custom", pad=pad, ceil_mode=ceil)
    want = pooled(op, x, kernel, strides, pad, ceil)
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.parametrize(("size", "kernel", "strides", "pad", "ceil"), [c for c in CUSTOM if all(p < 2 for p in c[3])])
def test_an_average_can_leave_out_the_padding(
    size: tuple[int, ...], kernel: Any, strides: list[int], pad: Any, ceil: bool
) -> None:
    x = random(1, 2, *size)
    got = run(
        "avg_pool", x, kernel_sizes=kernel, strides=strides, pad_type="custom", pad=pad, ceil_mode=ceil,
        exclude_padding_from_average=True,
    )  # fmt: skip
    np.testing.assert_allclose(got, pooled("avg_pool", x, kernel, strides, pad, ceil, exclude=True), atol=1e-5)


@pairs(
    {
        "pad_type": ["same", "same_lower", "SAME"],
        "op": ["max_pool", "avg_pool", "l2_pool"],
        "size, kernel, strides, pads": [
            ((7,), [3], [3], [(1, 1)]),
            ((5,), [2], [1], [(0, 1)]),
            ((6, 5), [2, 3], [2, 2], [(0, 0), (1, 1)]),
            ((6, 5), [4, 4], [1, 2], [(1, 2), (1, 2)]),
        ],
    }
)
def test_same_padding_yields_one_window_for_each_step(
    op: str, pad_type: str, size: tuple[int, ...], kernel: Any, strides: list[int], pads: list[tuple[int, int]]
) -> None:
    x = random(1, 2, *size)
    pad = [n for pair in pads for n in (pair[::-1] if pad_type == "same_lower" else pair)]
    got = run(op, x, kernel_sizes=kernel, strides=strides, pad_type=pad_type)
    assert list(got.shape[2:]) == [-(-n // s) for n, s in zip(size, strides, strict=True)]
    np.testing.assert_allclose(got, pooled(op, x, kernel, strides, pad), atol=1e-5)


def test_strides_are_one_and_pad_is_zero_by_default() -> None:
    x = random(1, 1, 6)
    np.testing.assert_array_equal(
        run("max_pool", x, kernel_sizes=[2], pad_type="custom"),
        run("max_pool", x, kernel_sizes=[2], strides=[1], pad_type="valid", pad=[1, 1]),
    )


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_average_over_zeros_put_in_front_by_same_lower(rank: int) -> None:
    # The values that the format's own tests expect.
    x = np.arange(1, 2**rank + 1, dtype=np.float32).reshape(1, 1, *[2] * rank)
    want = {1: [0.5, 1.5], 2: [0.25, 0.75, 1, 2.5], 3: [0.125, 0.375, 0.5, 1.25, 0.75, 1.75, 2, 4.5]}
    got = run("avg_pool", x, kernel_sizes=[2] * rank, pad_type="same_lower")
    np.testing.assert_array_equal(got.ravel(), want[rank])


def test_a_window_wholly_on_padding_has_no_maximum() -> None:
    got = run("max_pool", random(1, 1, 2), kernel_sizes=[2], pad_type="custom", pad=[2, 0], strides=[2])
    assert got[0, 0, 0] == -np.inf
    assert np.isfinite(got[0, 0, 1])


@pytest.mark.parametrize("op", ["max_pool", "avg_pool", "l2_pool"])
def test_a_prepared_pool_serves_inputs_of_any_size(op: str) -> None:
    attributes = {"kernel_sizes": [3, 2], "pad_type": "same", "strides": [2, 2]}
    kernel = prepared(op, **attributes)
    for size in ((6, 5), (7, 4), (6, 5)):
        x = random(1, 2, *size)
        np.testing.assert_array_equal(kernel(x=torch.from_numpy(x)).numpy(), run(op, x, **attributes))


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"pad_type": "full"}, "pad_type 'full' is not one of"),
        ({"pad_type": "same", "ceil_mode": True}, "ceil_mode goes with pad_type 'valid' or 'custom', not 'same'"),
        ({"pad_type": "custom", "pad": [0, 1], "ceil_mode": True}, r"pad \[0, 1\] is not symmetric"),
        ({"pad_type": "valid", "strides": [0]}, r"strides \[0\]"),
        ({"pad_type": "valid", "strides": [5], "ceil_mode": True}, "a window that lies past the end of 4 elements"),
        ({"pad_type": "valid", "kernel_sizes": [5]}, "a kernel of 5 does not fit 4 elements"),
    ],
)
def test_pooling_refuses_what_the_specification_leaves_undefined(attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"max_pool: .*{message}"):
        run("max_pool", random(1, 1, 4), **{"kernel_sizes": [2], **attributes})
