"""The measured effect of rounding on a recording, and how a recording is kept from depending on the machine.

A phase that accumulates, or an angle near ±π, turns a difference of 1e-7 into one of 0.1. Such a tensor is not wrong,
but it can't be expected to the third digit elsewhere. How far it may be off is measured when it is recorded.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from parity.base.arithmetic import distance
from parity.declarations import Arrays, Case, Golden
from parity.golden.errors import UnusableRecording
from parity.golden.recording import WIDEST, digests, exact, tensors

_ULPS = 4


def spread(case: Case, recorded: Golden, record: Callable[[Case], Golden]) -> dict[str, float]:
    """Return, for each tensor by its sha256, its relative L2 to a recording with other rounding."""
    other = rerecorded(case, record)
    before, after, digest = dict(tensors(recorded)), dict(tensors(other)), digests(recorded)
    found: dict[str, float] = {}
    for place in dict.fromkeys((*before, *after)):
        here, there, fault, apart = before.get(place), after.get(place), "", 0.0
        if here is None or there is None:
            fault = "it comes or goes"
        elif here.shape != there.shape:
            fault = f"its shape is {list(there.shape)} and not {list(here.shape)}"
        elif exact(here):
            same = here.dtype == there.dtype and np.array_equal(here, there)
            fault = "" if same else "it has other whole numbers"
        elif not (apart := distance(here, there).relative_l2) <= WIDEST:
            fault = "nothing of it is left"
        if fault:
            raise UnusableRecording(
                f"case {case.name}: {place}",
                f"hangs on rounding: with inputs {_ULPS} ulp off, {fault}",
                "take an input that decides more clearly",
            )
        found[digest[place]] = max(found.get(digest[place], 0.0), apart)
    return found


def rerecorded(case: Case, record: Callable[[Case], Golden]) -> Golden:
    """Record a case with other kernels and with inputs a few ulp off: the same truth, rounded otherwise."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="TF32")  # said of a setting that is only put back
        with torch.backends.mkldnn.flags(enabled=False):
            return record(replace(case, inputs=_nudged(case.inputs)))


def _nudged(inputs: Arrays) -> dict[str, np.ndarray]:
    """Move every other value up and every other one down."""
    found = {}
    for name, array in inputs.items():
        values = np.array(array)
        if values.dtype.kind == "f":
            signs = np.where(np.arange(values.size) % 2, -1, 1).reshape(values.shape)
            values = (values * (1 + _ULPS * np.finfo(values.dtype).eps * signs)).astype(values.dtype)
        found[name] = values
    return found
