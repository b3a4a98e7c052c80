"""How a recording is kept from depending on the machine, and how far rounding carries what still does.

A phase that accumulates, or an angle near ±π, turns a difference of 1e-7 into one of 0.1. Such a tensor is not wrong,
but it can't be expected to the third digit elsewhere. How far it may be off is measured when it is recorded.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch

from parity.base.distance import distance
from parity.declarations import Arrays, Case
from parity.golden.errors import UnusableRecording
from parity.golden.recording import Held, Recording
from parity.golden.sketch import WIDEST, exact

_ULPS = 4


def spread(case: Case, recorded: Recording, record: Callable[[Case], Recording]) -> dict[str, float]:
    """For each tensor, by its sha256, the relative L2 to what other kernels make of inputs that are a few ulp off."""
    other = rerecorded(case, record)
    before, after = dict(recorded.places()), dict(other.places())
    found: dict[str, float] = {}
    for place in [*before, *after]:
        fault = _fault(before.get(place), after.get(place))
        if fault:
            raise UnusableRecording(
                f"case {case.name}: {place}",
                f"hangs on rounding: with inputs {_ULPS} ulp off, {fault}",
                "take an input that decides more clearly",
            )
        digest, apart = before[place].sha256, distance(before[place].array, after[place].array).relative_l2
        found[digest] = max(found.get(digest, 0.0), apart)
    return found


def rerecorded(case: Case, record: Callable[[Case], Recording]) -> Recording:
    """Record a case with other kernels and with inputs a few ulp off: the same truth, rounded otherwise."""
    with _other_kernels():
        return record(replace(case, inputs=_nudged(case.inputs)))


@contextmanager
def _other_kernels() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="TF32")  # said of a setting that is only put back
        with torch.backends.mkldnn.flags(enabled=False):
            yield


def _fault(here: Held | None, there: Held | None) -> str:
    if here is None or there is None:
        return "it comes or goes"
    if here.array.shape != there.array.shape:
        return f"its shape is {list(there.array.shape)} and not {list(here.array.shape)}"
    if exact(here.array):
        return "" if here.sha256 == there.sha256 else "it has other whole numbers"
    return "" if distance(here.array, there.array).relative_l2 <= WIDEST else "nothing of it is left"


def _nudged(inputs: Arrays) -> dict[str, np.ndarray]:
    """Every other value up and every other one down."""
    found = {}
    for name, array in inputs.items():
        values = np.array(array)
        if values.dtype.kind == "f":
            signs = np.where(np.arange(values.size) % 2, -1, 1).reshape(values.shape)
            values = (values * (1 + _ULPS * np.finfo(values.dtype).eps * signs)).astype(values.dtype)
        found[name] = values
    return found
