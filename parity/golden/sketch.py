"""A tensor in few numbers: its hash, its statistics, and a sketch that identifies another recording of it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

SAMPLES = 2048
DType = Literal["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"]
DTYPES: tuple[str, ...] = get_args(DType)
_CHUNK = 1 << 20

RELATIVE_L2 = 1e-3
"""The distance that the same truth may have on another machine. Other instruction sets and other kernels were seen to
move a well-conditioned stage by up to 2e-5."""
ROOM = 4.0
"""Times the spread that was measured at recording, where that is more. It is one sample of what rounding may do: other
instruction sets were seen to take 1.1 times as much, and 2.3 times where a phase accumulates."""
WIDEST = 2.0
"""Spread: two tensors of one rms that have nothing in common are 1.4 apart."""
ZEROS = 1e-2


@dataclass(frozen=True)
class Tolerance:
    """Of the same truth on another machine. Averages hold where values do not; extremes are single values.

    Where the spread is so wide that the sketch can't tell (a phase that is anyone's after minutes), averages still do.
    """

    relative_l2: float
    averages: float
    extremes: float

    @staticmethod
    def of(spread: float) -> Tolerance:
        bound = max(RELATIVE_L2, ROOM * spread)
        return Tolerance(bound, min(max(RELATIVE_L2, bound / 10), 0.05), max(10 * RELATIVE_L2, bound))


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


@dataclass(frozen=True)
class Statistics:
    """Of the finite values. `zeros` and `nonfinite` are counts."""

    min: float
    max: float
    mean: float
    rms: float
    zeros: int
    nonfinite: int = 0

    @staticmethod
    def of(array: np.ndarray) -> Statistics:
        low, high, total, squares, zeros, finite = math.inf, -math.inf, 0.0, 0.0, 0, 0
        for (chunk,) in _chunks(array):
            values = chunk[np.isfinite(chunk)]
            if not values.size:
                continue
            low, high = min(low, float(values.min())), max(high, float(values.max()))
            total, squares = total + float(values.sum()), squares + float(values @ values)
            zeros, finite = zeros + int((values == 0).sum()), finite + values.size
        if not finite:
            return Statistics(0.0, 0.0, 0.0, 0.0, 0, array.size)
        mean, rms = total / finite, math.sqrt(squares / finite)
        return Statistics(_short(low), _short(high), _short(mean), _short(rms), zeros, array.size - finite)

    def moved(self, other: Statistics, size: int, tolerance: Tolerance) -> str:
        """Return the statistic that is farther off than rounding explains, or nothing."""
        largest = max(abs(self.min), abs(self.max))
        allowed = {
            "min": tolerance.extremes * largest,
            "max": tolerance.extremes * largest,
            "mean": tolerance.averages * self.rms,
            "rms": tolerance.averages * self.rms,
            "zeros": ZEROS * size,
            "nonfinite": 0,
        }
        for name, bound in allowed.items():
            before, after = getattr(self, name), getattr(other, name)
            if not abs(after - before) <= bound:
                return f"{name} {before:.6g} → {after:.6g}"
        return ""


def exact(array: np.ndarray) -> bool:
    """Return whether a tensor must be equal bit for bit: whole numbers carry decisions, not roundings."""
    return bool(array.dtype.kind != "f")


def _chunks(*arrays: np.ndarray) -> Iterator[list[np.ndarray]]:
    flat = [array.reshape(-1) for array in arrays]
    for start in range(0, flat[0].size, _CHUNK):
        yield [array[start : start + _CHUNK].astype(np.float64) for array in flat]


def _short(value: float) -> float:
    """Round to nine digits, which tell fp32 values apart and hide the order of a sum."""
    return float(f"{value:.9g}")
