"""The likeness of an error to simple faults, which is the first hint at its cause, and its size.

An explanation is a simple change of the reference. It counts only if it leaves at most a tenth of the error. The
simplest that counts is taken.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parity.base.arithmetic import distance, norm, rms
from parity.compare.metrics.audio import best_lag, loudest_rows, stft
from parity.compare.metrics.registry import Array, numbers

SMALL = 0.3
"""Relative L2 from which an error is too large to be called noise."""
UNRELATED = 0.3
"""A correlation under which an error has nothing to do with the reference, or with itself a step before."""
FEW_LEVELS = 256
SAMPLE = 10_000
FLOAT16_MAX = 65504.0
ENOUGH = 0.1
"""The share of the error that an explanation may leave."""
FEWEST_VALUES = 8
"""Fewer values than these fit anything."""
ROUNDING = 1e-6
MOST_SLICES = 4096
FEATURES = 256
LONGEST_WINDOW = 2048
ABOUT = 0.05
"""The distance of jumps from whole periods that is allowed, as a share of the period."""


def relative_l2(reference: Any, candidate: Any) -> float:
    """Return the relative L2 of two arrays or tensors; infinite where their shapes differ."""
    r, c = (
        value.detach().numpy() if isinstance(value, Tensor) else np.asarray(value) for value in (reference, candidate)
    )
    return distance(r, c).relative_l2 if r.shape == c.shape else math.inf


@dataclass(frozen=True)
class Likeness:
    """The kind of an error, and how much or where: "gain" and "1.5×".

    The kinds: equal, shape, nan, saturated, zero, constant, frozen, sign, gain, offset, quantization, shift,
    permutation, phase, clipped, tail, local, noise, other.
    """

    kind: str
    detail: str = ""

    @property
    def tells(self) -> bool:
        """Return whether the kind says something about the cause."""
        return self.kind not in ("equal", "other", "noise")

    def __str__(self) -> str:
        return f"{self.kind} {self.detail}".rstrip()


def likeness(reference: Any, candidate: Any) -> Likeness:
    """Return what sets the candidate apart from the reference.

    Args:
        reference: The expected values.
        candidate: The values to judge.
    """
    r, c = numbers("likeness", "reference", reference), numbers("likeness", "candidate", candidate)
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
        return _finite(np.where(both, r, 0.0), np.where(both, c, 0.0), (*EXPLANATIONS, _confined))


def _not_finite(r: Array, c: Array, wrong: np.ndarray) -> Likeness:
    nans = np.isnan(c) & wrong
    kind, what = ("nan", nans) if nans.any() else ("saturated", wrong)
    detail = f"in {int(what.sum())} of {c.size} values, the first at {_at(int(np.argmax(what)), c)}"
    sizes = np.abs(r[wrong])
    if (sizes > FLOAT16_MAX).any():
        detail += f", where the reference reaches {sizes.max():.3g}: beyond float16"
    return Likeness(kind, detail)


def _finite(r: Array, c: Array, explanations: Iterable[Explanation]) -> Likeness:
    """Return the first of the explanations that counts, or describe the error as it is."""
    for explanation in explanations:
        if found := explanation(r, c):
            return found
    return _remainder(r, c)


def _without_variation(r: Array, c: Array) -> Likeness | None:
    if not c.any():
        return Likeness("zero")
    if c.size > 1 and (c == c.flat[0]).all() and not (r == r.flat[0]).all():
        return Likeness("constant", f"{c.flat[0]:.6g}")
    for axis in reversed(range(c.ndim)):
        still = c.shape[axis] >= 4 and (c == np.take(c, [0], axis)).all()
        if still and not (r == np.take(r, [0], axis)).all():
            return Likeness("frozen", f"along axis {axis}: each of {c.shape[axis]} steps is the first")
    return None


def _explains(explained: Array, r: Array, c: Array) -> bool:
    """Return whether next to nothing of the error is left, nor of the candidate: a gain of 0 explains any whisper."""
    return norm(c - explained) <= ENOUGH * min(norm(c - r), norm(c))


def _scale(r: Array, c: Array) -> Likeness | None:
    """Find a flipped sign, a gain, an offset, or a gain with an offset."""
    if r.size < FEWEST_VALUES:
        return None
    gain = float(np.vdot(r, c)) / (norm(r) ** 2 or math.nan)
    offset = float((c - r).mean())
    centered = r - r.mean()
    slope = float(np.vdot(centered, c)) / (norm(centered) ** 2 or math.nan)
    rest = float(c.mean()) - slope * float(r.mean())
    left = {
        Likeness("sign", "flipped"): norm(c + r),
        Likeness("gain", f"{_factor(gain)}×"): norm(c - gain * r),
        Likeness("offset", f"{offset:+.6g}"): norm(c - r - offset),
        Likeness("gain", f"{_factor(slope)}× and offset {rest:+.4g}"): norm(c - slope * r - rest),
    }
    enough = ENOUGH * min(norm(c - r), norm(c))
    best = min(residual for residual in left.values() if not math.isnan(residual))
    about_best = min(enough, 2 * best + ROUNDING * enough)
    return next((found for found, residual in left.items() if residual <= about_best), None)


def _factor(gain: float) -> str:
    return f"{gain:.6g}" if abs(gain - 1) < 0.01 else f"{gain:.4g}"


def _rounding(r: Array, c: Array) -> Likeness | None:
    """Find the reference, rounded to a shorter format."""
    bfloat16 = torch.from_numpy(r.astype(np.float32)).bfloat16().double().numpy()
    for name, rounded in {"float16": r.astype(np.float16), "bfloat16": bfloat16}.items():
        if _explains(rounded, r, c):
            return Likeness("quantization", f"to {name}")
    return None


def _shift(r: Array, c: Array) -> Likeness | None:
    """Find the reference some steps later or earlier, along one axis."""
    for axis in reversed(range(r.ndim)):
        x, y = np.moveaxis(r, axis, -1), np.moveaxis(c, axis, -1)
        length = x.shape[-1]
        if length < FEWEST_VALUES or not (lag := best_lag(x, y)):
            continue
        later, earlier = slice(max(0, lag), length + min(0, lag)), slice(max(0, -lag), length - max(0, lag))
        if _explains(x[..., earlier], x[..., later], y[..., later]):
            return Likeness("shift", f"by {lag:+d} along axis {axis}")
    return None


def _permutation(r: Array, c: Array) -> Likeness | None:
    """Find halves swapped, an axis reversed, axes transposed, or slices in another order."""
    for detail, rearranged in _rearrangements(r):
        if _explains(rearranged, r, c):
            return Likeness("permutation", detail)
    for axis, count in enumerate(r.shape):
        if not 2 <= count <= MOST_SLICES or r.size // count < FEWEST_VALUES:
            continue
        order = _order(r, c, axis)
        swapped = np.flatnonzero(order != np.arange(count))
        if swapped.size and len(np.unique(order)) == count and _explains(np.take(r, order, axis), r, c):
            first = ", ".join(f"{position} is {order[position]}" for position in swapped[:4])
            more = f" and {swapped.size - 4} more" if swapped.size > 4 else ""
            return Likeness("permutation", f"of axis {axis}: {first}{more}")
    return None


def _rearrangements(r: Array) -> Iterator[tuple[str, Array]]:
    for axis, count in enumerate(r.shape):
        if count >= 2 and count % 2 == 0 and r.size >= FEWEST_VALUES:
            yield f"of axis {axis}: its halves swapped", np.roll(r, count // 2, axis)
        if count >= 3 and r.size >= FEWEST_VALUES:
            yield f"of axis {axis}: reversed", np.flip(r, axis)
    for one, other in itertools.combinations(range(r.ndim), 2):
        if r.shape[one] == r.shape[other] > 1:
            yield f"of axes {one} and {other}: transposed", np.swapaxes(r, one, other)


def _order(r: Array, c: Array, axis: int) -> np.ndarray:
    """Return the slice of the reference that each slice of the candidate is nearest to, by a sample of values."""
    x, y = (np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1) for values in (r, c))
    if x.shape[1] > FEATURES:
        sample = np.sort(np.random.default_rng(0).choice(x.shape[1], FEATURES, replace=False))
        x, y = x[:, sample], y[:, sample]
    apart = np.square(y).sum(1)[:, None] + np.square(x).sum(1)[None, :] - 2 * (y @ x.T)
    nearest = apart.argmin(axis=1)
    own = np.arange(len(x))
    rounding = 1e-9 * (np.square(x).sum(1).max() + np.square(y).sum(1))
    return np.where(apart[own, own] <= apart[own, nearest] + rounding, own, nearest)


def _phase_jumps(r: Array, c: Array) -> Likeness | None:
    """Find some values off by π, by 2π or by whole turns, the others right."""
    error = c - r
    within_a_turn = min(np.ptp(r), np.ptp(c)) <= 1 and not (r == np.rint(r)).all()
    for unit, period in {"π": math.pi, **({"whole turns": 1.0} if within_a_turn else {})}.items():
        turns = np.rint(error / period)
        off = turns != 0
        if off.sum() < FEWEST_VALUES or rms((error - turns * period)[off]) > ABOUT * period:
            continue
        if not _explains(r + turns * period, r, c):
            continue
        if unit == "π" and (turns % 2 == 0).all():
            turns, unit = turns / 2, "2π"
        multiples = "multiples of " if unit != "whole turns" and np.abs(turns).max() > 1 else ""
        return Likeness("phase", f"off by {multiples}{unit} in {100 * float(off.mean()):.3g} % of values")
    return None


def _clipping(r: Array, c: Array) -> Likeness | None:
    """Find the reference, cut off above or below."""
    low, high = float(c.min()), float(c.max())
    above, below = float((r > high).mean()), float((r < low).mean())
    if r.size < FEWEST_VALUES or not (above or below) or not _explains(np.clip(r, low, high), r, c):
        return None
    cuts = [f"above {high:.6g}"] * bool(above) + [f"below {low:.6g}"] * bool(below)
    return Likeness("clipped", f"{' and '.join(cuts)}: {100 * (above + below):.3g} % of values")


def _phase_of_waveform(r: Array, c: Array) -> Likeness | None:
    """Find the same short-time magnitudes with other phases."""
    window = min(LONGEST_WINDOW, r.shape[-1] // 4)
    if window < 64:
        return None
    x, y = (stft(rows, window, window // 2) for rows in loudest_rows(c - r, r, c))
    if norm(np.abs(y) - np.abs(x)) <= ENOUGH * norm(np.abs(y - x)):
        return Likeness("phase", "of the waveform: its short-time magnitudes agree")
    return None


Explanation = Callable[[Array, Array], Likeness | None]
"""Takes two finite arrays of one shape that differ, and gives the kind of the error, or nothing."""
EXPLANATIONS: tuple[Explanation, ...] = (
    _without_variation,
    _scale,
    _rounding,
    _shift,
    _permutation,
    _phase_jumps,
    _clipping,
    _phase_of_waveform,
)
"""The simplest first."""


def _confined(r: Array, c: Array) -> Likeness | None:
    """Describe an error in one stretch along an axis, or in a few values."""
    for axis in reversed(range(r.ndim)):
        if not (found := _stretch(r, c, axis)):
            continue
        begin, end = found
        length = r.shape[axis]
        steps = range(begin, end)
        there = _finite(np.take(r, steps, axis), np.take(c, steps, axis), EXPLANATIONS)
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


def _stretch(r: Array, c: Array, axis: int) -> tuple[int, int] | None:
    """Return the stretch [begin, end) along an axis that holds the error, if there is signal outside of it."""
    length = r.shape[axis]
    if length < 2 * FEWEST_VALUES:
        return None
    others = tuple(other for other in range(r.ndim) if other != axis)
    error, signal = np.square(c - r).sum(axis=others), np.square(r).sum(axis=others)
    total = float(error.sum())
    until = np.cumsum(error)
    begin = int(np.searchsorted(until, ENOUGH**2 / 2 * total, side="right"))
    end = int(np.searchsorted(until, (1 - ENOUGH**2 / 2) * total)) + 1
    usual_outside = float(np.median(np.delete(error, slice(begin, end)))) if end - begin < length else 0.0
    noticeable = np.flatnonzero(error > max(ROUNDING * error[begin:end].mean(), 100 * usual_outside))
    if not noticeable.size:
        return None
    begin, end = int(noticeable[0]), int(noticeable[-1]) + 1
    if noticeable.size < (end - begin) / 2:
        return None
    if end < length and signal[end:].mean() <= ENOUGH**2 * signal[begin:end].mean():
        end = length  # In silence no error shows.
    if end - begin > (0.95 if end == length else 0.5) * length:
        return None
    inside_error, inside_signal = (float(values[begin:end].mean()) for values in (error, signal))
    outside_error, outside_signal = (float(np.delete(values, slice(begin, end)).mean()) for values in (error, signal))
    confined = outside_error <= ENOUGH**2 * inside_error
    although_signal = outside_error * inside_signal <= ENOUGH**2 * inside_error * outside_signal and outside_signal > 0
    return (begin, end) if confined and although_signal else None


def _remainder(r: Array, c: Array) -> Likeness:
    """Describe the rest: noise is small and unrelated to the reference, and white if its steps are unrelated too."""
    error = c - r
    size, worst = norm(error) / (norm(r) or math.nan), int(np.argmax(np.abs(error)))
    if r.size >= FEWEST_VALUES and size < SMALL and abs(_correlation(error, r)) < UNRELATED:
        decibels = f"at {20 * math.log10(size):.0f} dB"
        if levels := _few_levels(r, c):
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
