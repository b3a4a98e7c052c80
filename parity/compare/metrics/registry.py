"""The table of metrics, and the decorator that fills it.

A metric is a plain function of a reference and a candidate, both float64, finite, of equal shape and with an axis at
least; one that has the parameter ``sample_rate`` is given it, which is how many rows make a second where these are not
samples; one that has the parameter ``turns`` is given who really speaks when. The registered ``measure`` sees to all
that, for any arrays of numbers:

- empty arrays, arrays of something else than numbers, and shapes that differ are a ``ValueError``;
- NaN or infinity anywhere in either array makes the metric NaN;
- so does a result that isn't finite, such as a ratio to a reference of zeros. NaN breaks every gate.

``blind_to`` says which faults a metric can't notice; the tests hold each metric to it, both ways.
"""

from __future__ import annotations

import difflib
import inspect
import math
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Better = Literal["higher", "lower", "near"]
Fault = Literal["gain", "offset", "shift", "sign", "order", "phase", "half", "zeros", "spike"]
"""gain: 1.05 times. offset: a constant added. shift: one step later. sign: flipped. order: steps shuffled.
phase: other phases under the same magnitudes. half: the second half zeros. zeros: all. spike: one value off."""

FAULTS: tuple[Fault, ...] = typing.get_args(Fault)
EXACT_INTEGERS = 2**53


@dataclass(frozen=True)
class Metric:
    """One way to compare. ``ideal`` is its value where candidate and reference are the same.

    ``better`` is also the form of its bound: ``min`` for higher, ``max`` for lower, ``within`` (of the ideal) for near.
    """

    name: str
    measure: Callable[..., float]
    better: Better
    ideal: float
    unit: str
    about: str
    needs_rate: bool
    needs_turns: bool
    any_length: bool
    blind_to: frozenset[Fault]

    @property
    def scale_sensitive(self) -> bool:
        return "gain" not in self.blind_to

    def distance(self, value: float) -> float:
        """How far a value is from the ideal, in the direction that is worse; NaN stays NaN."""
        if self.better == "near":
            return abs(value - self.ideal)
        return value - self.ideal if self.better == "lower" else self.ideal - value


_metrics: dict[str, Metric] = {}
METRICS: Mapping[str, Metric] = MappingProxyType(_metrics)


def metric(
    *,
    better: Better,
    ideal: float,
    unit: str = "",
    blind_to: tuple[Fault, ...] = (),
    any_length: bool = False,
) -> Callable[[Callable[..., float]], Callable[..., float]]:
    """Register a function as the metric of its name; the first line of its docstring says what it measures."""

    def register(function: Callable[..., float]) -> Callable[..., float]:
        name = function.__name__
        if name in _metrics:
            raise ValueError(f"metric {name!r} is registered twice: rename one of them")
        about = (inspect.getdoc(function) or "").partition("\n")[0]
        if not about:
            raise ValueError(f"metric {name!r} has no docstring: its first line is what reports say about it")
        needs_rate, needs_turns = (key in inspect.signature(function).parameters for key in ("sample_rate", "turns"))
        guarded = _guarded(name, function, needs_rate, needs_turns, any_length)
        blind = frozenset(blind_to)
        _metrics[name] = Metric(name, guarded, better, ideal, unit, about, needs_rate, needs_turns, any_length, blind)
        return guarded

    return register


def find(name: str) -> Metric:
    if name in METRICS:
        return METRICS[name]
    near = difflib.get_close_matches(name, METRICS, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(METRICS))}"
    raise ValueError(f"no metric is called {name!r}; {hint}")


def measure(
    name: str, reference: Any, candidate: Any, sample_rate: float | None = None, turns: np.ndarray | None = None
) -> float:
    return find(name).measure(reference, candidate, sample_rate, turns)


def _guarded(
    name: str, function: Callable[..., float], needs_rate: bool, needs_turns: bool, any_length: bool
) -> Callable[..., float]:
    def guarded(
        reference: Any, candidate: Any, sample_rate: float | None = None, turns: np.ndarray | None = None
    ) -> float:
        expected, actual = _numbers(name, "reference", reference), _numbers(name, "candidate", candidate)
        if expected.shape != actual.shape and not any_length:
            raise ValueError(f"{name}: the candidate has the shape {actual.shape}, the reference {expected.shape}")
        given: dict[str, Any] = {}
        if needs_rate:
            if sample_rate is None or not 0 < sample_rate < math.inf:
                raise ValueError(f"{name} needs a sample rate above 0, not {sample_rate}")
            given["sample_rate"] = float(sample_rate)
        if needs_turns:
            if turns is None:
                raise ValueError(f'{name} needs to know who really speaks: the case needs an input "turns"')
            given["turns"] = np.asarray(turns, np.float64)
        if not (np.isfinite(expected).all() and np.isfinite(actual).all()):
            return math.nan
        with np.errstate(all="ignore"):
            value = float(function(expected, actual, **given))
        return value if math.isfinite(value) else math.nan

    guarded.__name__, guarded.__doc__, guarded.__module__ = name, function.__doc__, function.__module__
    return guarded


def _numbers(name: str, role: str, values: Any) -> Array:
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name}: the {role} is of {array.dtype}: metrics compare real numbers")
    if array.size == 0:
        raise ValueError(f"{name}: the {role} is empty, of shape {array.shape}: there is nothing to compare")
    if array.dtype.kind in "iu" and array.dtype.itemsize == 8 and _beyond_float64(array):
        raise ValueError(f"{name}: the {role} holds integers beyond 2^53, which float64 can't tell apart")
    return np.atleast_1d(array.astype(np.float64, copy=False))


def _beyond_float64(array: np.ndarray) -> bool:
    return int(array.max()) > EXACT_INTEGERS or int(array.min()) < -EXACT_INTEGERS
