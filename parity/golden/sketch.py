"""A tensor in few numbers: its hash, its statistics, and a sketch that identifies another recording of it."""

from __future__ import annotations

import hashlib
import math
from typing import Any, Literal, get_args

import numpy as np

SAMPLES = 2048
DType = Literal["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"]
DTYPES: tuple[str, ...] = get_args(DType)
_CHUNK = 1 << 20
WIDEST = 2.0
"""Spread: two tensors of one rms that have nothing in common are 1.4 apart."""


def sha256(array: np.ndarray) -> str:
    """Return the hash of dtype, shape and little-endian bytes. It is equal for equal tensors only, on every machine."""
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    digest = hashlib.sha256(f"{array.dtype.name} {list(array.shape)}\n".encode())
    digest.update(little.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def sketch(array: np.ndarray) -> np.ndarray:
    """Return up to 2,048 samples at one stride over the flat tensor.

    The stride shares no factor with the size. So along every axis the samples visit all positions in turn.
    """
    stride = max(1, -(-array.size // SAMPLES))
    while math.gcd(stride, array.size) > 1:
        stride += 1
    return np.ascontiguousarray(array.reshape(-1)[::stride])


def statistics(array: np.ndarray) -> dict[str, Any]:
    """Return extremes, mean and rms of the finite values, and the counts of zeros and of values that are not finite."""
    low, high, total, squares, zeros, finite = math.inf, -math.inf, 0.0, 0.0, 0, 0
    flat = array.reshape(-1)
    for start in range(0, flat.size, _CHUNK):
        chunk = flat[start : start + _CHUNK].astype(np.float64)
        values = chunk[np.isfinite(chunk)]
        if values.size:
            low, high = min(low, float(values.min())), max(high, float(values.max()))
            total, squares = total + float(values.sum()), squares + float(values @ values)
            zeros, finite = zeros + int((values == 0).sum()), finite + values.size
    known = (low, high, total / finite, math.sqrt(squares / finite)) if finite else (0.0,) * 4
    # Nine digits tell fp32 values apart and hide the order of a sum.
    found = {name: float(f"{value:.9g}") for name, value in zip(("min", "max", "mean", "rms"), known, strict=True)}
    return {**found, "zeros": zeros, "nonfinite": array.size - finite}


def exact(array: np.ndarray) -> bool:
    """Return whether a tensor must be equal bit for bit: whole numbers carry decisions, not roundings."""
    return bool(array.dtype.kind != "f")
