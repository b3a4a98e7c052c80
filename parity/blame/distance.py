"""The distance of two values of any type, so that any two can be ranked, and the size of one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from torch import Tensor

from parity.base.arithmetic import distance


def relative_l2(reference: Any, candidate: Any) -> float:
    """Return the relative L2 of two arrays or tensors; infinite where their shapes differ."""
    r, c = (
        value.detach().numpy() if isinstance(value, Tensor) else np.asarray(value) for value in (reference, candidate)
    )
    return distance(r, c).relative_l2 if r.shape == c.shape else math.inf


def largest(value: Tensor) -> float:
    """Return the largest finite magnitude; 0 where there is none."""
    finite = value.double()[value.isfinite()]
    return float(finite.abs().max()) if finite.numel() else 0.0


def rms(value: Tensor) -> float:
    return float(value.double().square().mean().sqrt()) if value.numel() else 0.0


def whole(value: Tensor) -> bool:
    """Return whether the values are all whole numbers, and there are any."""
    return bool(value.numel()) and bool((value.double() == value.double().round()).all())
