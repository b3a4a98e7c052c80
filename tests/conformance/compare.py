"""A half-precision comparison that proves something.

The suites accept an absolute error of 0.5 from half-precision programs. Here an element may be off by ``factor``
roundings to half precision at its own magnitude, or at the root mean square of its tensor where that is larger (sums
of products of both signs cancel, and their rounding errors don't). What the test itself tolerates in full precision
is tolerated too. Integers and booleans must be equal.

Which bound holds is read from the program that ran: it computes in half precision if any of its values has that type,
whatever the test calls it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from tests.conformance import watch
from tests.conformance.entries import Entry

UNIT = 2.0**-11
"""The largest relative error of one rounding to half precision."""

FACTOR = 8.0
_HALF_MAX = 65504.0


@dataclass
class Meter:
    """What the comparisons of the running test are held to, and what they found."""

    factor: float = FACTOR
    scale: float = 0.0
    compared: int = 0
    needed: float | None = None
    tolerance: tuple[float, float] | None = field(default=None, repr=False)


meter = Meter()


def start_test(wider: Iterable[Entry] = ()) -> Meter:
    """A fresh meter for a test, with the wider bounds that apply to it."""
    global meter
    meter = Meter()
    for entry in wider:
        meter.factor, meter.scale = max(meter.factor, entry.factor), max(meter.scale, entry.scale)
    return meter


def needed_factors(actual: Any, expected: Any, atol: float, rtol: float, scale: float = 0.0) -> Any:
    """For each element the factor its error needs; 0 within the given tolerance, infinity if nothing helps."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    if expected.dtype.kind in "biu":
        return np.where(actual == expected, 0.0, np.inf)
    if expected.dtype.kind != "f" or actual.dtype.kind not in "fiub":
        return np.where(np.isclose(actual, expected, atol=atol, rtol=rtol, equal_nan=True), 0.0, np.inf)
    actual, expected = np.broadcast_arrays(actual.astype(np.float64), expected.astype(np.float64))
    size = np.abs(expected)
    finite = np.isfinite(expected)
    rms = np.sqrt(np.mean(np.minimum(size[finite], _HALF_MAX) ** 2)) if finite.any() else 0.0
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        error = np.abs(actual - expected)
        needed = np.where(error <= atol + rtol * size, 0.0, error / (UNIT * np.maximum(size, max(rms, scale))))
        overflow = (
            np.isinf(actual) & (np.abs(expected) > _HALF_MAX * (1 - UNIT)) & (np.sign(actual) == np.sign(expected))
        )
    same = (actual == expected) | (np.isnan(actual) & np.isnan(expected)) | overflow
    needed = np.where(same, 0.0, needed)
    return np.where(np.isnan(needed), np.inf, needed)


def assert_close(actual: Any, expected: Any, rtol: float = 1e-7, atol: float = 0.0, **options: Any) -> None:
    """Stands in for ``numpy.testing.assert_allclose`` inside the suites' comparisons."""
    meter.compared += 1
    if meter.tolerance is None:
        np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol, **options)
        return
    atol, rtol = meter.tolerance
    if not watch.sighting.half:
        np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol)
        return
    if np.shape(actual) != np.shape(expected):
        np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol)
    plain = float(needed_factors(actual, expected, atol, rtol).max(initial=0.0))
    meter.needed = plain if meter.needed is None else max(meter.needed, plain)
    needed = needed_factors(actual, expected, atol, rtol, meter.scale)
    worst = float(needed.max(initial=0.0))
    if worst <= meter.factor:
        return
    at = np.unravel_index(int(needed.argmax()), needed.shape)
    off = int((needed > meter.factor).sum())
    raise AssertionError(
        f"{off} of {needed.size} elements are off by more than {meter.factor:g} roundings to half precision; "
        f"the worst, at {tuple(map(int, at))}, by {worst:.3g}: "
        f"{np.asarray(actual)[at]!r} instead of {np.asarray(expected)[at]!r}"
    )


def is_close(actual: Any, expected: Any, rtol: float = 1e-5, atol: float = 1e-8, **options: Any) -> Any:
    """Stands in for ``numpy.isclose`` inside the suites' comparisons."""
    if meter.tolerance is None:
        return np.isclose(actual, expected, rtol=rtol, atol=atol, **options)
    if not watch.sighting.half:
        return np.isclose(actual, expected, atol=meter.tolerance[0], rtol=meter.tolerance[1], equal_nan=True)
    return needed_factors(actual, expected, *meter.tolerance, meter.scale) <= meter.factor


class _StandIn:
    """A namespace with some names replaced."""

    def __init__(self, original: ModuleType, **replaced: Any) -> None:
        self._original = original
        self.__dict__.update(replaced)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


def tighten(module: ModuleType, function: str) -> None:
    """Make a comparing function of a module hold programs to the bound of the precision they really compute in."""
    original = getattr(module, function)
    signature = inspect.signature(original)

    @functools.wraps(original)
    def compare(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        before = meter.tolerance
        meter.tolerance = (bound.arguments["atol"], bound.arguments["rtol"])
        try:
            return original(*args, **kwargs)
        finally:
            meter.tolerance = before

    setattr(module, function, compare)
    testing = _StandIn(np.testing, assert_allclose=assert_close)
    module.__dict__["np"] = _StandIn(np, testing=testing, isclose=is_close)
