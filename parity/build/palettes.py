"""Palettes: the values that stand for those of a weight, clustered once for each weight.

Clustering takes most of the time of a palettized artifact, and many artifacts have the same weights: those of other
sizes, an inner stage, one that is built again because its module changed.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from parity.base.cache import Cache
from parity.base.fingerprint import code, digest
from parity.base.libraries import versions

FILE = "palette.npz"
BEST_FROM = 10_000
"""Elements of a weight in half precision from which on coremltools looks for the best palette of all."""
DISTANCES = "_euclidean_distances"
"""The function of scikit-learn that a clustering of a weight in full precision spends its time in."""
MOST_HALVINGS = 60
"""Of the range in which the penalty lies, in logarithms."""
RANGE = 60.0
"""That range, downwards from the error of a single stretch: a factor of 1e26."""


class Palettes:
    """Palettes of weights, from the cache where they are known.

    Args:
        cache: Keeps a palette under the digest of its weight.
    """

    def __init__(self, cache: Cache) -> None:
        self.cache = cache

    def config(self, bits: int) -> Any:
        """Return coremltools' configuration that clusters every large weight to 2^bits values."""
        from coremltools.optimize import coreml

        return coreml.OpPalettizerConfig(mode="custom", lut_function=lambda weight: self.of(weight, bits))

    def of(self, weight: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the 2^bits values and the index of each element, as coremltools' own mode `kmeans` finds them."""
        parts = {
            "weight": hashlib.sha256(np.ascontiguousarray(weight).tobytes()).hexdigest(),
            "dtype": str(weight.dtype),
            "bits": bits,
            "libraries": versions("coremltools", "numpy", "numba", "scikit-learn"),
            "code": _code(),
        }

        def make(folder: Path) -> None:
            values, indices = clustered(weight, bits)
            np.savez(folder / FILE, values=values, indices=indices)

        with np.load(self.cache.get("palette", digest(parts), make, parts) / FILE) as found:
            return found["values"], found["indices"]


@cache
def _code() -> str:
    return digest(code(clustered))


def clustered(weight: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of a palette and the index of each element, as coremltools' mode `kmeans` finds them.

    They are the same bits, unless several palettes are equally good.
    """
    found = _best(weight, 1 << bits) if weight.dtype == np.float16 and weight.size >= BEST_FROM else None
    if found is not None:
        return found
    from coremltools.optimize.coreml import _quantization_passes
    from sklearn.cluster import _kmeans

    quick = weight.dtype == np.float32 and hasattr(_kmeans, DISTANCES)
    with patch.object(_kmeans, DISTANCES, _apart) if quick else nullcontext():
        theirs: tuple[np.ndarray, np.ndarray] = _quantization_passes.palettize_weights._get_lut_and_indices(
            weight, "KMEANS", bits, None
        )
    return theirs


def _apart(centres: np.ndarray, values: np.ndarray, **_: Any) -> np.ndarray:
    """Return the squared distance of each value from each centre, as scikit-learn's function of this name.

    That one is made for many columns, and takes four fifths of the time of a clustering.
    """
    found: np.ndarray = _compiled(_squares)(centres[:, 0].astype(np.float64), values[:, 0])
    return found


def _squares(centres: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the squared differences of values and centres, in the order of operations that gives the same bits."""
    found = np.empty((len(centres), len(values)), np.float32)
    for row, centre in enumerate(centres):
        for column, single in enumerate(values):
            value = np.float64(single)
            square = np.float32(-2.0 * (centre * value) + centre * centre + value * value)
            found[row, column] = max(square, np.float32(0))
    return found


def _best(weight: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the palette of least squared error, or None where the search below does not lead to it.

    In half precision a weight has few distinct values. In sorted order a cluster is a stretch of them, and coremltools
    finds the best stretches cluster by cluster. Here each stretch costs a penalty, which leaves their number open and
    makes the search one pass over the values; then it is the penalty that is searched for. That is the same palette in
    a fiftieth of the time.
    """
    halves = (weight.ravel() + np.float16(0)).view(np.uint16)  # -0 becomes 0
    counts = np.bincount(halves, minlength=1 << 16)
    known = np.flatnonzero(counts).astype(np.uint16)
    known = known[np.argsort(known.view(np.float16))]
    values, weights = known.view(np.float16).astype(np.float64), counts[known].astype(np.float64)
    if len(values) <= count or not np.isfinite(values).all():
        return None
    starts = _starts(values, weights, count)
    if starts is None:
        return None
    palette = _compiled(_means)(values, weights, starts).astype(np.float16)
    index = np.zeros(1 << 16, np.uint8)
    index[known] = np.searchsorted(starts, np.arange(len(values)), "right") - 1
    return palette, index[halves]


def _starts(values: np.ndarray, weights: np.ndarray, count: int) -> np.ndarray | None:
    """Return the start of each of the best stretches of sorted values."""
    centred = values - np.average(values, weights=weights)
    sums = [np.concatenate([[0.0], np.cumsum(weights * centred**power)]) for power in range(3)]
    last = np.zeros(len(values) + 1, np.int64)
    high = math.log(sums[2][-1])
    low = high - RANGE
    for _ in range(MOST_HALVINGS):
        penalty = (low + high) / 2
        number = _compiled(_stretches)(*sums, math.exp(penalty), last)
        if number == count:
            found = [int(last[-1])]
            while found[-1]:
                found.append(int(last[found[-1]]))
            return np.array(found[::-1])
        low, high = (penalty, high) if number > count else (low, penalty)
    return None


def _stretches(counts: np.ndarray, sums: np.ndarray, squares: np.ndarray, penalty: float, last: np.ndarray) -> int:
    """Divide sorted values into stretches so that their squared errors and a penalty for each are least.

    Args:
        counts: The number of elements before each value, and of all.
        sums: Their sum.
        squares: The sum of their squares.
        penalty: The cost of a stretch.
        last: Gets the start of the last stretch before each value, and before the end.

    Returns:
        The number of stretches.
    """
    end = len(counts) - 1
    cost, number = np.zeros(end + 1), np.zeros(end + 1, np.int64)

    def until(here: int, start: int) -> float:
        """Return the cost up to a value, if the last stretch before it has this start."""
        total = sums[here] - sums[start]
        return float(cost[start] + squares[here] - squares[start] - total * total / (counts[here] - counts[start]))

    # The starts that are the best for some value ahead, in order, and the first value that each is the best for.
    # A later start, once it is better than an earlier one, remains so.
    queue, since = np.zeros(end + 1, np.int64), np.ones(end + 1, np.int64)
    head = tail = 0
    for here in range(1, end + 1):
        while head < tail and since[head + 1] <= here:
            head += 1
        last[here] = queue[head]
        cost[here] = until(here, queue[head]) + penalty
        number[here] = number[queue[head]] + 1
        while head < tail and since[tail] > here and until(since[tail], here) < until(since[tail], queue[tail]):
            tail -= 1
        low, high = max(since[tail], here + 1), end + 1
        while low < high:
            middle = (low + high) // 2
            if until(middle, here) < until(middle, queue[tail]):
                high = middle
            else:
                low = middle + 1
        if low <= end:
            tail += 1
            queue[tail], since[tail] = here, low
    return int(number[end])


def _means(values: np.ndarray, weights: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return the mean of each stretch. It runs along, as coremltools has it: another order rounds otherwise."""
    means = np.zeros(len(starts))
    for place, start in enumerate(starts):
        end = starts[place + 1] if place + 1 < len(starts) else len(values)
        total = 0.0
        for index in range(start, end):
            total += weights[index]
            means[place] += weights[index] * (values[index] - means[place]) / total
    return means


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    import numba  # takes half a second

    compiled: Callable[..., Any] = numba.njit(function)
    return compiled
