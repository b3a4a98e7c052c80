"""The difference of two values that have to be the same, in a few words: where, what, and what upstream has there."""

from __future__ import annotations

import numpy as np

FEW = 3
"""The number of places that are named."""


def difference(value: np.ndarray, truth: np.ndarray) -> str:
    """Return what sets a value of the host apart from upstream's.

    Args:
        value: The value that the host made.
        truth: Upstream's.
    """
    if value.dtype != truth.dtype:
        return f"{value.dtype} where upstream has {truth.dtype}"
    if value.shape != truth.shape:
        return f"shape {value.shape} where upstream has {truth.shape}"
    for axis in range(value.ndim):
        if order := _order(value, truth, axis):
            return f"upstream's values in another order along axis {axis}: {order}"
    both_nan = (value != value) & (truth != truth)
    differ = np.argwhere((value != truth) & ~both_nan)
    named = [_at(tuple(index), value, truth) for index in differ[:FEW].tolist()]
    return f"{', '.join(named)}{_more(len(differ))}" + (f" of {value.size} values" if len(differ) > FEW else "")


def _order(value: np.ndarray, truth: np.ndarray, axis: int) -> str:
    """Return the order that the slices along an axis are in, if these are upstream's; else an empty text."""
    ours, theirs = (np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1) for array in (value, truth))
    if len(ours) < 2 or not ours.shape[1]:
        return ""
    sorted_ours, sorted_theirs = (np.lexsort(rows.T[::-1]) for rows in (ours, theirs))
    if not np.array_equal(ours[sorted_ours], theirs[sorted_theirs]):
        return ""
    source = np.empty(len(ours), np.int64)
    source[sorted_ours] = sorted_theirs
    moved = np.flatnonzero((ours != theirs).any(axis=1))
    return ", ".join(f"{place} is {source[place]}" for place in moved[:FEW].tolist()) + _more(len(moved))


def _more(count: int) -> str:
    return f" and {count - FEW} more" if count > FEW else ""


def _at(index: tuple[int, ...], value: np.ndarray, truth: np.ndarray) -> str:
    where = f" at {index[0] if len(index) == 1 else index}" if value.size > 1 else ""
    return f"{_number(value[index])} where upstream has {_number(truth[index])}{where}"


def _number(value: np.generic) -> str:
    return f"{value:.9g}" if isinstance(value, np.floating) else str(value)
