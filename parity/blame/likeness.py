"""The likeness of an error to simple faults: the first hint at its cause.

An explanation is a simple change of the reference. It counts only if it leaves at most a tenth of the error. The
simplest that counts is taken.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from parity.base.arithmetic import norm
from parity.blame.explanations import EXPLANATIONS, FEWEST_VALUES, region
from parity.compare.metrics.registry import Array

SMALL = 0.3
"""Relative L2 from which an error is too large to be called noise."""
UNRELATED = 0.3
"""A correlation under which an error has nothing to do with the reference, or with itself a step before."""
FEW_LEVELS = 256
SAMPLE = 10_000
FLOAT16_MAX = 65504.0


@dataclass(frozen=True)
class Likeness:
    """The kind of an error, and how much or where: "gain" and "1.5×".

    The kinds: equal, shape, nan, saturated, zero, constant, frozen, sign, gain, offset, quantization, shift,
    permutation, phase, clipped, tail, local, noise, other.
    """

    kind: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.detail}".rstrip()


def likeness(reference: Any, candidate: Any) -> Likeness:
    """Return what sets the candidate apart from the reference.

    Args:
        reference: The expected values.
        candidate: The values to judge.
    """
    r, c = _numbers("reference", reference), _numbers("candidate", candidate)
    if r.shape != c.shape:
        return Likeness("shape", f"{c.shape} instead of {r.shape}")
    with np.errstate(all="ignore"):
        same = (r == c) | (np.isnan(r) & np.isnan(c))
        if same.all():
            return Likeness("equal")
        not_finite = ~np.isfinite(c) & ~same
        if not_finite.any():
            return _not_finite(r, c, not_finite)
        if not np.isfinite(r[~same]).all():
            return Likeness("other", "finite values where the reference has none")
        both = np.isfinite(r) & np.isfinite(c)
        if not both.all():
            r, c = np.where(both, r, 0.0), np.where(both, c, 0.0)
        return _finite(r, c, whole=True)


def _numbers(role: str, values: Any) -> Array:
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"the {role} is of {array.dtype}: an error of real numbers is looked at")
    if array.size == 0:
        raise ValueError(f"the {role} is empty, of shape {array.shape}: there is no error to look at")
    return np.atleast_1d(array.astype(np.float64, copy=False))


def _finite(r: Array, c: Array, *, whole: bool) -> Likeness:
    flat = _without_variation(r, c)
    if flat:
        return flat
    for explanation in EXPLANATIONS:
        found = explanation(r, c)
        if found:
            return Likeness(*found)
    if whole:
        confined = _confined(r, c)
        if confined:
            return confined
    return _remainder(r, c)


def _not_finite(r: Array, c: Array, wrong: np.ndarray) -> Likeness:
    nans = np.isnan(c) & wrong
    what = nans if nans.any() else wrong
    detail = f"in {int(what.sum())} of {c.size} values, the first at {_at(int(np.argmax(what)), c)}"
    beyond = np.abs(r[wrong]) > FLOAT16_MAX
    if beyond.any():
        detail += f", where the reference reaches {np.abs(r[wrong]).max():.3g}: beyond float16"
    return Likeness("nan" if nans.any() else "saturated", detail)


def _without_variation(r: Array, c: Array) -> Likeness | None:
    if not c.any():
        return Likeness("zero")
    if c.size > 1 and (c == c.reshape(-1)[0]).all() and not (r == r.reshape(-1)[0]).all():
        return Likeness("constant", f"{c.reshape(-1)[0]:.6g}")
    for axis in reversed(range(c.ndim)):
        if c.shape[axis] < 4:
            continue
        first_of = np.take(c, [0], axis)
        if (c == first_of).all() and not (r == np.take(r, [0], axis)).all():
            return Likeness("frozen", f"along axis {axis}: each of {c.shape[axis]} steps is the first")
    return None


def _confined(r: Array, c: Array) -> Likeness | None:
    """Describe an error in one stretch along an axis, or in a few values."""
    for axis in reversed(range(r.ndim)):
        found = region(r, c, axis)
        if not found:
            continue
        begin, end = found
        length = r.shape[axis]
        steps = range(begin, end)
        there = _finite(np.take(r, steps, axis), np.take(c, steps, axis), whole=False)
        looks = "" if there.kind == "other" else f", there {there}"
        if end == length and end - begin > 1:
            return Likeness("tail", f"from {begin} of {length} on along axis {axis}{looks}")
        where = f"from {begin} to {end - 1}" if end - begin > 1 else f"at {begin}"
        return Likeness("local", f"{where} of {length} along axis {axis}{looks}")
    squared = np.square(c - r).reshape(-1)
    few = max(1, squared.size // 1000)
    worst = np.argpartition(squared, -few)[-few:]
    if squared.size >= 100 and squared[worst].sum() >= 0.99 * squared.sum():
        worst = worst[np.argsort(-squared[worst])]
        count = int(np.searchsorted(np.cumsum(squared[worst]), 0.99 * squared.sum())) + 1
        return Likeness("local", f"in {count} of {squared.size} values, most at {_at(int(worst[0]), r)}")
    return None


def _remainder(r: Array, c: Array) -> Likeness:
    """Describe the rest: noise is small and unrelated to the reference, and white if its steps are unrelated too."""
    error = c - r
    size, worst = norm(error) / (norm(r) or math.nan), int(np.argmax(np.abs(error)))
    if r.size >= FEWEST_VALUES and size < SMALL and abs(_correlation(error, r)) < UNRELATED:
        decibels = f"at {20 * math.log10(size):.0f} dB"
        levels = _few_levels(r, c)
        if levels:
            return Likeness("quantization", f"to {levels} levels, {decibels}")
        white = abs(_correlation(error[..., 1:], error[..., :-1])) < UNRELATED
        return Likeness("noise", decibels if white else f"{decibels}, coloured")
    return Likeness("other", f"of relative L2 {size:.3g}, largest at {_at(worst, r)}")


def _few_levels(r: Array, c: Array) -> int:
    """Return how many distinct values the candidate has, if far fewer than the reference; else 0."""
    if c.size > SAMPLE and len(np.unique(c.reshape(-1)[:: c.size // SAMPLE])) > FEW_LEVELS:
        return 0
    levels = len(np.unique(c))
    return levels if levels <= FEW_LEVELS and len(np.unique(r)) >= 4 * levels else 0


def _correlation(a: Array, b: Array) -> float:
    x, y = (values.reshape(-1) - values.mean() if values.size else np.zeros(1) for values in (a, b))
    product = norm(x) * norm(y)
    return float(x @ y) / product if product else 0.0


def _at(index: int, array: Array) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(index, array.shape))
