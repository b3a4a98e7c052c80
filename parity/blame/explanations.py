"""The simple changes of a reference that can explain a candidate, each with the test whether it does.

Each takes two finite arrays of one shape that differ, and gives the kind of the error and its detail, or nothing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
import torch

from parity.base.arithmetic import norm, rms
from parity.compare.metrics.audio import best_lag, loudest_rows, stft
from parity.compare.metrics.registry import Array

Found = tuple[str, str]

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


def explains(explained: Array, r: Array, c: Array) -> bool:
    """Return whether next to nothing of the error is left, nor of the candidate: a gain of 0 explains any whisper."""
    return norm(c - explained) <= ENOUGH * min(norm(c - r), norm(c))


def scale(r: Array, c: Array) -> Found | None:
    """Find a flipped sign, a gain, an offset, or a gain with an offset."""
    if r.size < FEWEST_VALUES:
        return None
    gain = float(np.vdot(r, c)) / (norm(r) ** 2 or math.nan)
    offset = float((c - r).mean())
    centered = r - r.mean()
    slope = float(np.vdot(centered, c)) / (norm(centered) ** 2 or math.nan)
    rest = float(c.mean()) - slope * float(r.mean())
    left = {
        ("sign", "flipped"): norm(c + r),
        ("gain", f"{_factor(gain)}×"): norm(c - gain * r),
        ("offset", f"{offset:+.6g}"): norm(c - r - offset),
        ("gain", f"{_factor(slope)}× and offset {rest:+.4g}"): norm(c - slope * r - rest),
    }
    enough = ENOUGH * min(norm(c - r), norm(c))
    best = min(residual for residual in left.values() if not math.isnan(residual))
    about_best = min(enough, 2 * best + ROUNDING * enough)
    return next((found for found, residual in left.items() if residual <= about_best), None)


def rounding(r: Array, c: Array) -> Found | None:
    """Find the reference, rounded to a shorter format."""
    bfloat16 = torch.from_numpy(r.astype(np.float32)).bfloat16().double().numpy()
    for name, rounded in (("float16", r.astype(np.float16).astype(np.float64)), ("bfloat16", bfloat16)):
        if explains(rounded, r, c):
            return "quantization", f"to {name}"
    return None


def moved(r: Array, c: Array) -> Found | None:
    """Find the reference some steps later or earlier, along one axis."""
    for axis in reversed(range(r.ndim)):
        x, y = np.moveaxis(r, axis, -1), np.moveaxis(c, axis, -1)
        length = x.shape[-1]
        if length < FEWEST_VALUES:
            continue
        lag = best_lag(x, y)
        if not lag:
            continue
        later, earlier = slice(max(0, lag), length + min(0, lag)), slice(max(0, -lag), length - max(0, lag))
        if explains(x[..., earlier], x[..., later], y[..., later]):
            return "shift", f"by {lag:+d} along axis {axis}"
    return None


def permuted(r: Array, c: Array) -> Found | None:
    """Find halves swapped, an axis reversed, axes transposed, or slices in another order."""
    for detail, rearranged in _rearrangements(r):
        if explains(rearranged, r, c):
            return "permutation", detail
    for axis, count in enumerate(r.shape):
        if not 2 <= count <= MOST_SLICES or r.size // count < FEWEST_VALUES:
            continue
        order = _order(r, c, axis)
        swapped = np.flatnonzero(order != np.arange(count))
        if swapped.size and len(np.unique(order)) == count and explains(np.take(r, order, axis), r, c):
            first = ", ".join(f"{position} is {order[position]}" for position in swapped[:4])
            more = f" and {swapped.size - 4} more" if swapped.size > 4 else ""
            return "permutation", f"of axis {axis}: {first}{more}"
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
    distance = np.square(y).sum(1)[:, None] + np.square(x).sum(1)[None, :] - 2 * (y @ x.T)
    nearest = distance.argmin(axis=1)
    own = np.arange(len(x))
    rounding = 1e-9 * (np.square(x).sum(1).max() + np.square(y).sum(1))
    stays = distance[own, own] <= distance[own, nearest] + rounding
    return np.where(stays, own, nearest)


def phase_jumps(r: Array, c: Array) -> Found | None:
    """Find some values off by π, by 2π or by whole turns, the others right."""
    error = c - r
    within_a_turn = min(np.ptp(r), np.ptp(c)) <= 1 and not (r == np.rint(r)).all()
    for period, unit in ((math.pi, "π"), (1.0, "whole turns")):
        if period == 1.0 and not within_a_turn:
            continue
        turns = np.rint(error / period)
        off = turns != 0
        if off.sum() < FEWEST_VALUES or rms((error - turns * period)[off]) > ABOUT * period:
            continue
        if not explains(r + turns * period, r, c):
            continue
        if unit == "π" and (turns % 2 == 0).all():
            turns, unit = turns / 2, "2π"
        multiples = "multiples of " if unit != "whole turns" and np.abs(turns).max() > 1 else ""
        return "phase", f"off by {multiples}{unit} in {100 * float(off.mean()):.3g} % of values"
    return None


def phase_of_waveform(r: Array, c: Array) -> Found | None:
    """Find the same short-time magnitudes with other phases."""
    window = min(LONGEST_WINDOW, r.shape[-1] // 4)
    if window < 64:
        return None
    hop = window // 2
    x, y = (stft(rows, window, hop) for rows in loudest_rows(c - r, r, c))
    if norm(np.abs(y) - np.abs(x)) <= ENOUGH * norm(np.abs(y - x)):
        return "phase", "of the waveform: its short-time magnitudes agree"
    return None


def clipped(r: Array, c: Array) -> Found | None:
    """Find the reference, cut off above or below."""
    low, high = float(c.min()), float(c.max())
    above, below = float((r > high).mean()), float((r < low).mean())
    if r.size < FEWEST_VALUES or not (above or below) or not explains(np.clip(r, low, high), r, c):
        return None
    cuts = [f"above {high:.6g}"] * bool(above) + [f"below {low:.6g}"] * bool(below)
    return "clipped", f"{' and '.join(cuts)}: {100 * (above + below):.3g} % of values"


def region(r: Array, c: Array, axis: int) -> tuple[int, int] | None:
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
    inside = np.zeros(length, bool)
    inside[begin:end] = True
    if end - begin > (0.95 if end == length else 0.5) * length:
        return None
    outside_error, outside_signal = float(error[~inside].mean()), float(signal[~inside].mean())
    inside_error, inside_signal = float(error[inside].mean()), float(signal[inside].mean())
    confined = outside_error <= ENOUGH**2 * inside_error
    although_signal = outside_error * inside_signal <= ENOUGH**2 * inside_error * outside_signal and outside_signal > 0
    return (begin, end) if confined and although_signal else None


def _factor(gain: float) -> str:
    return f"{gain:.6g}" if abs(gain - 1) < 0.01 else f"{gain:.4g}"


EXPLANATIONS: tuple[Callable[[Array, Array], Found | None], ...] = (
    scale,
    rounding,
    moved,
    permuted,
    phase_jumps,
    clipped,
    phase_of_waveform,
)
"""The simplest first."""
