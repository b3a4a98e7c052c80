"""Convolutions against sums over kernel elements in float64."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import milrun.ops  # noqa: F401 (registers the ops)
from milrun.registry import find, preparers
from tests.support.covering import each, pairs

RNG = np.random.default_rng(11)


def run(op: str, opset: str = "iOS17", **arguments: Any) -> np.ndarray:
    tensors = {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in arguments.items()}
    found = find(op, opset)
    assert found is not None
    return found.run(**tensors).numpy()


def prepared(op: str, *arguments: Any, **attributes: Any) -> Callable[..., Any]:
    preparer = preparers(op)[0]
    assert preparer is not None
    kernel = preparer(*arguments, **attributes)
    assert kernel is not None
    return kernel


def random(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def convolved(
    x: Any, weight: Any, bias: Any = None, strides: Any = None, pad: Any = None, dilations: Any = None, groups: int = 1
) -> Any:
    """Convolution of x with explicit padding, one kernel element at a time."""
    n = x.ndim - 2
    strides, dilations, pad = strides or [1] * n, dilations or [1] * n, pad or [0] * 2 * n
    x = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *zip(pad[::2], pad[1::2], strict=True)])
    weight = weight.astype(np.float64)
    kernel = weight.shape[2:]
    sizes = [(x.shape[2 + i] - (kernel[i] - 1) * dilations[i] - 1) // strides[i] + 1 for i in range(n)]
    out = np.zeros((x.shape[0], weight.shape[0], *sizes))
    ci, co = x.shape[1] // groups, weight.shape[0] // groups
    for g, at in itertools.product(range(groups), np.ndindex(*kernel)):
        starts = [a * d for a, d in zip(at, dilations, strict=True)]
        window = tuple(slice(s, s + (m - 1) * t + 1, t) for s, m, t in zip(starts, sizes, strides, strict=True))
        part = x[(slice(None), slice(g * ci, (g + 1) * ci), *window)]
        out[:, g * co : (g + 1) * co] += np.einsum(
            "nc...,oc->no...", part, weight[(slice(g * co, (g + 1) * co), slice(None), *at)]
        )
    return out if bias is None else out + bias.reshape(-1, *[1] * n)


def transposed(
    x: Any, weight: Any, bias: Any, strides: Any, dilations: Any, groups: int, before: Any, sizes: Any
) -> Any:
    """Transposed convolution, from element ``before`` of the full result on, zeros where that has ended."""
    n = x.ndim - 2
    kernel = weight.shape[2:]
    full = [(x.shape[2 + i] - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1 for i in range(n)]
    ci, co = x.shape[1] // groups, weight.shape[1]
    room = [max(f, b + s) for f, b, s in zip(full, before, sizes, strict=True)]
    out = np.zeros((x.shape[0], co * groups, *room))
    for g, at in itertools.product(range(groups), np.ndindex(*kernel)):
        window = tuple(
            slice(a * d, a * d + (x.shape[2 + i] - 1) * s + 1, s)
            for i, (a, d, s) in enumerate(zip(at, dilations, strides, strict=True))
        )
        part = x[:, g * ci : (g + 1) * ci].astype(np.float64)
        taps = weight[(slice(g * ci, (g + 1) * ci), slice(None), *at)].astype(np.float64)
        out[(slice(None), slice(g * co, (g + 1) * co), *window)] += np.einsum("nc...,co->no...", part, taps)
    out = out[(slice(None), slice(None), *(slice(b, b + s) for b, s in zip(before, sizes, strict=True)))]
    return out if bias is None else out + bias.reshape(-1, *[1] * n)


@each(
    {
        "size, kernel, channels, attributes": [
            ((7,), (3,), (2, 4, 1), {}),
            ((9,), (3,), (4, 6, 2), {"strides": [2], "dilations": [3], "pad": [4, 1]}),
            ((6, 7), (3, 2), (3, 2, 1), {"pad": [1, 1, 2, 2]}),
            ((8, 9), (3, 4), (4, 4, 4), {"strides": [2, 3], "pad": [0, 3, 1, 2], "dilations": [2, 1]}),
            ((8, 9), (3, 3), (4, 8, 2), {"strides": [1, 2], "pad": [2, 2, 0, 0], "dilations": [1, 3]}),
            ((5, 1), (2, 1), (1, 1, 1), {"strides": [3, 1]}),
            ((4, 5, 6), (2, 3, 1), (2, 4, 2), {"pad": [1, 0, 1, 1, 0, 2], "strides": [1, 2, 2]}),
            ((4, 5, 4), (2, 2, 2), (2, 2, 1), {"pad": [1, 1, 1, 1, 1, 1], "dilations": [2, 1, 2]}),
        ],
        "with_bias": [False, True],
    }
)
def test_conv_sums_over_the_kernel(
    size: tuple[int, ...], kernel: Any, channels: tuple[int, int, int], attributes: dict[str, Any], with_bias: bool
) -> None:
    c_in, c_out, groups = channels
    x, weight = random(2, c_in, *size), random(c_out, c_in // groups, *kernel)
    bias = random(c_out) if with_bias else None
    got = run("conv", x=x, weight=weight, bias=bias, groups=groups, pad_type="custom", **attributes)
    np.testing.assert_allclose(got, convolved(x, weight, bias, groups=groups, **attributes), atol=2e-5)


@pytest.mark.parametrize("pad_type", ["same", "same_lower"])
@pytest.mark.parametrize(
    ("size", "kernel", "strides", "dilations", "pads"),
    [
        ((5,), (4,), [1], [1], [(1, 2)]),
        ((6,), (3,), [2], [1], [(0, 1)]),
        ((7,), (3,), [2], [1], [(1, 1)]),
        ((6, 5), (3, 2), [1, 1], [2, 3], [(2, 2), (1, 2)]),
        ((6, 5), (2, 4), [3, 1], [1, 1], [(0, 0), (1, 2)]),
        ((5, 4, 3), (2, 3, 2), [1, 2, 1], [1, 1, 1], [(0, 1), (0, 1), (0, 1)]),
    ],
)
def test_same_padding_puts_the_odd_element_behind_and_same_lower_in_front(
    pad_type: str,
    size: tuple[int, ...],
    kernel: Any,
    strides: list[int],
    dilations: list[int],
    pads: list[tuple[int, int]],
) -> None:
    x, weight = random(1, 2, *size), random(3, 2, *kernel)
    pad = [n for pair in pads for n in (pair if pad_type == "same" else pair[::-1])]
    got = run("conv", x=x, weight=weight, pad_type=pad_type, strides=strides, dilations=dilations)
    assert list(got.shape[2:]) == [-(-n // s) for n, s in zip(size, strides, strict=True)]
    np.testing.assert_allclose(got, convolved(x, weight, None, strides, pad, dilations), atol=1e-5)


@pytest.mark.parametrize("pad_type", ["valid", "same"])
def test_pad_counts_for_custom_padding_only(pad_type: str) -> None:
    x, weight = random(1, 1, 5), random(1, 1, 3)
    with_pad = run("conv", x=x, weight=weight, pad_type=pad_type, pad=[2, 2])
    np.testing.assert_array_equal(with_pad, run("conv", x=x, weight=weight, pad_type=pad_type))


@pytest.mark.parametrize("pad_type", ["same", "custom", "valid"])
def test_a_prepared_conv_is_the_conv_at_every_input_size(pad_type: str) -> None:
    weight, bias = random(3, 2, 3, 2), random(3)
    attributes = {"pad_type": pad_type, "strides": [2, 1], "pad": [1, 0, 2, 1]}
    kernel = prepared("conv", torch.from_numpy(weight), torch.from_numpy(bias), **attributes)
    for size in ((6, 5), (7, 5), (3, 9)):
        x = random(2, 2, *size)
        want = run("conv", x=x, weight=weight, bias=bias, **attributes)
        np.testing.assert_array_equal(kernel(x=torch.from_numpy(x)).numpy(), want)


@pytest.mark.parametrize("pad", [[0, 0], [128, 128], [64, 0], [0, 100]])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_a_conv_of_long_kernels_over_one_channel_sums_as_others_do(pad: list[int], biased: bool, batch: int) -> None:
    """An STFT: it runs as a product of frames, unless it has few weights or frames overlap many times."""
    x, bias = random(batch, 1, 1001), random(64) if biased else None
    for size, stride in ((256, 64), (256, 7), (20, 5)):
        weight = random(64, 1, size)
        arguments = {"strides": [stride], "pad": pad, "pad_type": "custom"}
        expected = convolved(x, weight, None if bias is None else bias.astype(np.float64), [stride], pad)
        given = run("conv", x=x, weight=weight, bias=bias, **arguments)
        assert given.shape == expected.shape
        np.testing.assert_allclose(given, expected, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 2, 1000), (1, 1, 255), (1, 1000)])
def test_a_conv_of_long_kernels_refuses_what_has_no_frames(shape: tuple[int, ...]) -> None:
    with pytest.raises((ValueError, RuntimeError)):
        run("conv", x=random(*shape), weight=random(64, 1, 256), strides=[64])


def test_conv_of_an_empty_batch_is_empty() -> None:
    assert run("conv", x=random(0, 2, 5), weight=random(3, 2, 2)).shape == (0, 3, 4)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"pad_type": "full"}, "conv: pad_type 'full' is not one of 'valid', 'custom', 'same', 'same_lower'"),
        ({"pad_type": "custom", "pad": [1, 1, 1]}, r"conv: pad \[1, 1, 1\] is not 2 numbers of at least 0"),
        ({"strides": [1, 1]}, r"conv: strides \[1, 1\] is not 1 numbers"),
        ({"dilations": [0]}, r"conv: dilations \[0\]"),
    ],
)
def test_conv_refuses_attributes_outside_the_specification(attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run("conv", x=random(1, 1, 5), weight=random(1, 1, 3), **attributes)


@pytest.mark.parametrize("per_channel", [False, True])
def test_conv_quantized_scales_and_shifts_its_weight(per_channel: bool) -> None:
    x, weight = random(1, 2, 5, 4), RNG.integers(0, 256, (3, 2, 2, 2), dtype=np.uint8)
    scale, shift = (RNG.random(3 if per_channel else 1).astype(np.float32) for _ in range(2))
    got = run(
        "conv_quantized", x=x, weight=weight, quantization_type="linear", quant_scale=scale, quant_bias=shift,
        pad_type="same",
    )  # fmt: skip
    dense = weight * scale.reshape(-1, 1, 1, 1).astype(np.float64) + shift.reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(got, convolved(x, dense, pad=[0, 1, 0, 1]), rtol=1e-4, atol=1e-3)


def test_conv_quantized_refuses_what_it_cannot_carry_out() -> None:
    arguments = {"x": random(1, 1, 4), "weight": np.ones((1, 1, 2), np.uint8), "quant_scale": random(1)}
    arguments["quant_bias"] = random(1)
    with pytest.raises(ValueError, match="quantization_type 'lut'"):
        run("conv_quantized", quantization_type="lut", **arguments)
    with pytest.raises(ValueError, match="nbits 9"):
        run("conv_quantized", quantization_type="linear", nbits=9, **arguments)


TRANSPOSED = [
    # size, kernel, (c_in, c_out per group, groups), strides, dilations, pad
    ((5,), (3,), (2, 3, 1), [2], [1], [1, 1]),
    ((5,), (4,), (2, 1, 2), [3], [2], [0, 2]),
    ((5,), (4,), (2, 1, 2), [3], [1], [2, 0]),
    ((5,), (4,), (2, 1, 1), [1], [1], [3, 0]),
    ((4, 3), (3, 2), (4, 2, 2), [2, 1], [1, 3], [1, 0, 0, 1]),
    ((4, 5), (1, 1), (2, 2, 1), [3, 2], [1, 1], [0, 0, 0, 0]),
    ((3, 4, 2), (2, 3, 2), (2, 2, 1), [2, 1, 3], [1, 2, 1], [1, 1, 0, 2, 1, 0]),
]


@pairs(
    {
        "size, kernel, channels, strides, dilations, pad": TRANSPOSED,
        "with_bias": [False, True],
        "pad_type": ["valid", "custom", "same"],
    }
)
def test_conv_transpose_spreads_its_input_over_the_kernel(
    size: tuple[int, ...],
    kernel: Any,
    channels: tuple[int, int, int],
    strides: list[int],
    dilations: list[int],
    pad: Any,
    with_bias: bool,
    pad_type: str,
) -> None:
    c_in, c_out, groups = channels
    x, weight = random(2, c_in, *size), random(c_in, c_out, *kernel)
    bias = random(c_out * groups) if with_bias else None
    n = len(size)
    extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    full = [(size[i] - 1) * strides[i] + extent[i] for i in range(n)]
    if pad_type == "valid":
        before, sizes = [0] * n, full
    elif pad_type == "custom":
        before, sizes = pad[::2], [full[i] - pad[2 * i] - pad[2 * i + 1] for i in range(n)]
    else:
        before = [max(0, e - s) // 2 for e, s in zip(extent, strides, strict=True)]
        sizes = [a * s for a, s in zip(size, strides, strict=True)]
    got = run(
        "conv_transpose", x=x, weight=weight, bias=bias, pad_type=pad_type, pad=pad, strides=strides,
        dilations=dilations, groups=groups,
    )  # fmt: skip
    want = transposed(x, weight, bias, strides, dilations, groups, before, sizes)
    np.testing.assert_allclose(got, want, atol=2e-5)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pad_type", "pad", "wanted", "before"),
    [
        (5, 3, 2, "same", None, 9, 1),  # full is 11, of which one goes on either side
        (5, 3, 2, "same", None, 10, 0),  # of one element too many the end goes
        (5, 3, 2, "same", None, 12, 0),  # one more than there is: a zero at the end
        (5, 3, 2, "valid", None, 12, 0),
        (5, 3, 2, "valid", None, 9, 0),
        (5, 4, 2, "custom", [1, 1], 10, 1),
        (5, 4, 2, "custom", [1, 2], 11, 1),
        (5, 2, 1, "valid", None, 9, 0),  # more zeros than torch's output padding can add
    ],
)
def test_conv_transpose_ends_where_output_shape_says(
    size: tuple[int, ...], kernel: Any, stride: int, pad_type: str, pad: Any, wanted: int, before: int
) -> None:
    x, weight, bias = random(2, 3, size), random(3, 2, kernel), random(2)
    got = run(
        "conv_transpose", x=x, weight=weight, bias=bias, pad_type=pad_type, pad=pad, strides=[stride],
        output_shape=[2, 2, wanted],
    )  # fmt: skip
    np.testing.assert_allclose(got, transposed(x, weight, bias, [stride], [1], 1, [before], [wanted]), atol=1e-5)


@pytest.mark.parametrize("output_shape", [None, [1, 2, 9, 10]])
def test_a_prepared_conv_transpose_is_the_conv_transpose(output_shape: list[int] | None) -> None:
    x, weight, bias = random(1, 3, 4, 5), random(3, 2, 3, 2), random(2)
    attributes = {"pad_type": "same", "strides": [2, 2], "output_shape": output_shape}
    kernel = prepared("conv_transpose", torch.from_numpy(weight), torch.from_numpy(bias), **attributes)
    got = kernel(x=torch.from_numpy(x)).numpy()
    np.testing.assert_array_equal(got, run("conv_transpose", x=x, weight=weight, bias=bias, **attributes))


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"pad_type": "same_lower"}, "pad_type 'same_lower' is not one of 'same', 'valid', 'custom'"),
        ({"output_shape": [7]}, r"output_shape \[7\] does not have 3 elements"),
        ({"pad_type": "custom", "pad": [0, -1]}, r"pad \[0, -1\]"),
    ],
)
def test_conv_transpose_refuses_attributes_outside_the_specification(attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"conv_transpose: {message}"):
        run("conv_transpose", x=random(1, 1, 5), weight=random(1, 1, 3), **attributes)
