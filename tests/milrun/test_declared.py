"""``declared`` against numpy in float64: fp16 operands, exact work, one rounding; per op family, through packages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coremltools.converters.mil import Builder as mb  # noqa: N813
from numpy.typing import NDArray
from scipy import special

import milrun
from tests.milrun.packages import program, save

Array = NDArray[np.float64]
_RNG = np.random.default_rng(3)
_X: Array = _RNG.standard_normal((2, 6, 10)).astype(np.float16).astype(np.float64)
_W: Array = _RNG.standard_normal((4, 10)).astype(np.float16).astype(np.float64)
_K: Array = _RNG.standard_normal((5, 6, 3)).astype(np.float16).astype(np.float64)
_E: Array = _RNG.standard_normal((1, 10, 6, 3)).astype(np.float16).astype(np.float64)
_H = 4
_LSTM = [
    (_RNG.standard_normal(shape) / 3).astype(np.float16).astype(np.float64) for shape in ((16, 10), (16, 4), (16,))
]


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _layer_norm(x: Array) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + np.float16(1e-3))


def _conv(x: Array) -> Array:
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, 3, axis=2)[:, :, ::2]
    return np.einsum("bclk,ock->bol", windows, _K)


def _conv_transpose(x: Array) -> Array:
    out = np.zeros((2, 3, (10 - 1) * 2 + 3))
    for position in range(10):
        out[:, :, 2 * position : 2 * position + 3] += np.einsum(
            "bc,cok->bok", x[:, :, position], _K.transpose(1, 0, 2)[:, :3]
        )
    return out


def _lstm(x: Array) -> Array:
    weight_ih, weight_hh, bias = _LSTM
    h, c, out = np.zeros((6, _H)), np.zeros((6, _H)), []
    for step in x:
        i, f, o, g = np.split(step @ weight_ih.T + h @ weight_hh.T + bias, 4, -1)
        c = special.expit(f) * c + special.expit(i) * np.tanh(g)
        h = special.expit(o) * np.tanh(c)
        out.append(h)
    return np.stack(out)


def _upsample(x: Array) -> Array:
    centre = np.clip((np.arange(20) + 0.5) / 2 - 0.5, 0, 9)
    left = np.minimum(centre.astype(int), 8)
    share = centre - left
    return x[..., left] * (1 - share) + x[..., left + 1] * share


def _build_lstm(x: Any) -> Any:
    zeros = np.zeros((6, _H), np.float32)
    weight_ih, weight_hh, bias = (w.astype(np.float32) for w in _LSTM)
    return mb.lstm(
        x=x, initial_h=zeros, initial_c=zeros, weight_ih=weight_ih, weight_hh=weight_hh, bias=bias, output_sequence=True
    )[0]


_FAMILIES: dict[str, tuple[Callable[[Any], Any], Callable[[Array], Array]]] = {
    "add": (lambda x: mb.add(x=x, y=np.float32(0.1)), lambda x: x + np.float16(0.1)),
    "real_div": (lambda x: mb.real_div(x=np.float32(0.3), y=x), lambda x: np.float16(0.3) / x),
    "exp": (lambda x: mb.exp(x=x), np.exp),
    "sin": (lambda x: mb.sin(x=x), np.sin),
    "sqrt": (lambda x: mb.sqrt(x=mb.abs(x=x)), lambda x: np.sqrt(np.abs(x))),
    "pow": (lambda x: mb.pow(x=mb.abs(x=x), y=np.float32(1.5)), lambda x: np.abs(x) ** 1.5),
    "rsqrt": (
        lambda x: mb.rsqrt(x=mb.square(x=x), epsilon=np.float32(0.01)),
        lambda x: 1 / np.sqrt((x**2).astype(np.float16) + np.float64(np.float16(0.01))),
    ),
    "sigmoid": (lambda x: mb.sigmoid(x=x), special.expit),
    "gelu": (lambda x: mb.gelu(x=x), lambda x: x * special.ndtr(x)),
    "softplus": (lambda x: mb.softplus(x=x), lambda x: np.logaddexp(x, 0)),
    "softmax": (lambda x: mb.softmax(x=x, axis=-1), _softmax),
    "reduce_sum": (lambda x: mb.reduce_sum(x=x, axes=[-1]), lambda x: x.sum(-1)),
    "reduce_l2_norm": (lambda x: mb.reduce_l2_norm(x=x, axes=[1]), lambda x: np.sqrt((x**2).sum(1))),
    "cumsum": (lambda x: mb.cumsum(x=x, axis=2), lambda x: x.cumsum(2)),
    "layer_norm": (lambda x: mb.layer_norm(x=x, axes=[-1], epsilon=np.float32(1e-3)), _layer_norm),
    "linear": (lambda x: mb.linear(x=x, weight=_W.astype(np.float32)), lambda x: x @ _W.T),
    "matmul": (lambda x: mb.matmul(x=x, y=x, transpose_y=True), lambda x: x @ x.swapaxes(-1, -2)),
    "einsum": (
        lambda x: mb.einsum(values=(mb.expand_dims(x=x, axes=[0]), _E.astype(np.float32)), equation="nchw,nwhu->nchu"),
        lambda x: np.einsum("nchw,nwhu->nchu", x[None], _E),
    ),
    "conv": (lambda x: mb.conv(x=x, weight=_K.astype(np.float32), strides=[2], pad_type="custom", pad=[1, 1]), _conv),
    "conv_transpose": (
        lambda x: mb.conv_transpose(x=x, weight=_K.transpose(1, 0, 2)[:, :3].astype(np.float32), strides=[2]),
        _conv_transpose,
    ),
    "avg_pool": (
        lambda x: mb.avg_pool(x=x, kernel_sizes=[2], strides=[2], pad_type="valid"),
        lambda x: x.reshape(2, 6, 5, 2).mean(-1),
    ),
    "lstm": (_build_lstm, lambda x: _lstm(x[:, :, :])),
    "upsample_bilinear": (
        lambda x: mb.squeeze(
            x=mb.upsample_bilinear(
                x=mb.expand_dims(x=x, axes=[0]), scale_factor_height=1.0, scale_factor_width=2.0, align_corners=False
            ),
            axes=[0],
        ),
        _upsample,
    ),
    "gather": (lambda x: mb.gather(x=x, indices=[3, -1, 0], axis=2), lambda x: x[..., [3, -1, 0]]),
    "concat": (lambda x: mb.concat(values=(x, x), axis=1), lambda x: np.concatenate([x, x], 1)),
    "clip": (lambda x: mb.clip(x=x, alpha=-0.5, beta=0.7), lambda x: np.clip(x, -0.5, np.float16(0.7))),
}


@pytest.mark.parametrize("family", _FAMILIES)
def test_declared_is_the_exact_result_rounded_once(tmp_path: Path, family: str) -> None:
    build, exact = _FAMILIES[family]
    source = program(lambda x: mb.identity(x=build(x), name="y"), [_X.shape])
    path = save(tmp_path / "m.mlpackage", source, half=True)
    found = milrun.load(path).predict({"x": _X.astype(np.float32)})["y"]
    expected = exact(_X)
    np.testing.assert_array_equal(found, found.astype(np.float16))
    assert found.shape == expected.shape
    # Half a unit of fp16 for the rounding, and what fp32 work before it may add: next to nothing, except that it
    # decides now and then which neighbour is nearer.
    unit = np.spacing(np.abs(expected).astype(np.float16)).astype(np.float64)
    slack = 2e-6 * max(1.0, float(np.abs(expected).max()))
    assert (np.abs(found.astype(np.float64) - expected) <= 0.5 * unit + slack).all()
    assert np.abs(expected).max() > 0
