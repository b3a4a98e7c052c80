"""The table of metrics and the decorator that fills it.

A metric is a function of a reference and a candidate: float64 arrays, finite, of equal shape, with at least one axis.
A metric with a parameter ``sample_rate`` gets the number of rows per second, one with ``turns`` the turns of the true
speakers. The registered ``measure`` prepares these arguments:

- Empty arrays, arrays of other things than numbers, and unequal shapes raise a ``ValueError``.
- NaN or infinity in either array makes the metric NaN.
- A result that is not finite, such as a ratio to a reference of zeros, becomes NaN. NaN breaks every gate.

A metric is written in one place, its function. To add one::

    @metric(kinds=("features",), better="lower", floor=1e-5, limit=1.0)
    def mean_abs(reference: Array, candidate: Array) -> float:
        \"\"\"Return the mean absolute difference.\"\"\"
        return float(np.abs(candidate - reference).mean())
"""

from __future__ import annotations

import difflib
import inspect
import math
import typing
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from parity.declarations import AUDIBLE, Kind

Array = NDArray[np.float64]
AUDIO = AUDIBLE
SHAPE: tuple[Kind, ...] = ("features", "logits", "pitch", *AUDIO)
"""Kinds of which all values count alike: a curve, a waveform, an activation."""
SCALE: tuple[Kind, ...] = (*SHAPE, "cache", "speakers")
ABSOLUTE: tuple[Kind, ...] = ("durations", "cache", "margin", "speakers")
"""Kinds of which one single value decides."""
ACTIVITY: tuple[Kind, ...] = ("speakers", "diarization")
DIARIZATION: tuple[Kind, ...] = ("diarization",)
"""Kinds of tensors that many metrics share."""
Better = Literal["higher", "lower", "near"]
Fault = Literal["gain", "offset", "shift", "sign", "order", "phase", "half", "zeros", "spike"]
"""gain: 1.05 times. offset: a constant added. shift: one step later. sign: flipped. order: steps shuffled.
phase: other phases under the same magnitudes. half: the second half zeros. zeros: all. spike: one value off."""

ARGUMENTS = {
    "reference": "The expected values.",
    "candidate": "The values to judge, of the same shape.",
    "sample_rate": "Rows per second: samples of audio, frames of a diarization.",
    "turns": "The turns of the true speakers: rows of begin, end and speaker.",
}
"""The parameters that metrics take. `metric` adds their descriptions to every docstring."""
FAULTS: tuple[Fault, ...] = typing.get_args(Fault)
EXACT_INTEGERS = 2**53


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One registered metric.

    Attributes:
        name: The name that gates use.
        measure: The guarded function of reference, candidate, sample rate and turns.
        kinds: The kinds of tensors that it compares.
        better: The direction of better values, and so the form of a bound: ``min`` for higher, ``max`` for lower,
            ``within`` (a distance from the ideal) for near.
        ideal: The value for a candidate that equals the reference.
        floor: The distance from the ideal that rounding on another machine alone may cost; 0 for exact decisions.
        limit: The distance from the ideal at which a bound could hardly fail. Such a bound is refused.
        unit: The unit of the value; empty for shares and ratios.
        blind_to: The faults that the metric cannot notice. Tests prove the list in both directions.
        on_request: Whether it is costly, and measured only where a gate names it.
    """

    name: str
    measure: Callable[..., float]
    kinds: tuple[Kind, ...]
    better: Better
    ideal: float
    floor: float
    limit: float
    unit: str
    blind_to: frozenset[Fault]
    on_request: bool

    def distance(self, value: float) -> float:
        """Return the distance of a value from the ideal, in the worse direction; NaN stays NaN."""
        if self.better == "near":
            return abs(value - self.ideal)
        return value - self.ideal if self.better == "lower" else self.ideal - value


METRICS: dict[str, Metric] = {}


def metric(
    *,
    kinds: tuple[Kind, ...],
    better: Better,
    floor: float,
    ideal: float | None = None,
    limit: float = 0.5,
    unit: str = "",
    blind_to: tuple[Fault, ...] = (),
    on_request: bool = False,
) -> Callable[[Callable[..., float]], Callable[..., float]]:
    """Register a function as the metric of its name. `Metric` documents the parameters.

    Without an `ideal`, it is 1 where higher is better, else 0.
    """

    def register(function: Callable[..., float]) -> Callable[..., float]:
        name = function.__name__
        if name in METRICS:
            raise ValueError(f"metric {name!r} is registered twice: rename one of them")
        if not inspect.getdoc(function):
            raise ValueError(f"metric {name!r} has no docstring: say in it what the value means")
        METRICS[name] = Metric(
            name=name,
            measure=_guarded(function),
            kinds=kinds,
            better=better,
            ideal=float(better == "higher") if ideal is None else ideal,
            floor=floor,
            limit=limit,
            unit=unit,
            blind_to=frozenset(blind_to),
            on_request=on_request,
        )
        return METRICS[name].measure

    return register


def find(name: str) -> Metric:
    """Return the metric of a name, or raise a ValueError that suggests the nearest one."""
    if name in METRICS:
        return METRICS[name]
    near = difflib.get_close_matches(name, METRICS, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(METRICS))}"
    raise ValueError(f"no metric is called {name!r}; {hint}")


def of_kind(kind: Kind) -> tuple[Metric, ...]:
    """Return the metrics that compare a kind of tensor. Together they see every fault that matters for it."""
    return tuple(found for found in METRICS.values() if kind in found.kinds)


def _guarded(function: Callable[..., float]) -> Callable[..., float]:
    name, taken = function.__name__, inspect.signature(function).parameters

    @wraps(function)
    def guarded(
        reference: Any, candidate: Any, sample_rate: float | None = None, turns: np.ndarray | None = None
    ) -> float:
        expected, actual = numbers(name, "reference", reference), numbers(name, "candidate", candidate)
        if expected.shape != actual.shape:
            raise ValueError(f"{name}: the candidate has the shape {actual.shape}, the reference {expected.shape}")
        given: dict[str, Any] = {}
        if "sample_rate" in taken:
            if sample_rate is None or not 0 < sample_rate < math.inf:
                raise ValueError(f"{name} needs a sample rate above 0, not {sample_rate}")
            given["sample_rate"] = float(sample_rate)
        if "turns" in taken:
            if turns is None:
                raise ValueError(f'{name} needs to know who really speaks: the case needs an input "turns"')
            given["turns"] = np.asarray(turns, np.float64)
        if not (np.isfinite(expected).all() and np.isfinite(actual).all()):
            return math.nan
        with np.errstate(all="ignore"):
            value = float(function(expected, actual, **given))
        return value if math.isfinite(value) else math.nan

    described = (f"    {name}: {ARGUMENTS[name]}" for name in taken)
    guarded.__doc__ = "\n".join([inspect.getdoc(function) or "", "", "Args:", *described])
    return guarded


def numbers(name: str, role: str, values: Any) -> Array:
    """Return values as float64 with an axis at least, or raise a ValueError that begins with the name of who asks."""
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name}: the {role} is of {array.dtype}: metrics compare real numbers")
    if array.size == 0:
        raise ValueError(f"{name}: the {role} is empty, of shape {array.shape}: there is nothing to compare")
    if array.dtype.kind in "iu" and max(int(array.max()), -int(array.min())) > EXACT_INTEGERS:
        raise ValueError(f"{name}: the {role} holds integers beyond 2^53, which float64 can't tell apart")
    return np.atleast_1d(array.astype(np.float64, copy=False))
