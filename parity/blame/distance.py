"""How far a value is from another, of whatever type, so that any two can be ranked."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor


def relative_l2(reference: Any, candidate: Any) -> float:
    """0 for equal values, infinite where shapes differ or where one is finite and the other is not."""
    r, c = _tensor(reference), _tensor(candidate)
    if r.shape != c.shape:
        return math.inf
    x, y = (value if value.dtype == torch.float32 else value.double() for value in (r, c))
    distance, norm = _norm(x - y), _norm(x)
    if math.isfinite(distance) and math.isfinite(norm):
        return _ratio(distance, norm)
    finite = x.isfinite()
    if not torch.equal(finite, y.isfinite()) or not torch.equal(x.isnan(), y.isnan()):
        return math.inf
    if not torch.equal(x[~finite].nan_to_num(), y[~finite].nan_to_num()):
        return math.inf
    return _ratio(_norm(x[finite] - y[finite]), _norm(x[finite]))


def _tensor(value: Any) -> Tensor:
    # A copy where torch would warn that it could write to what numpy holds read-only.
    read_only = isinstance(value, np.ndarray) and not value.flags.writeable
    return torch.tensor(value) if read_only else torch.as_tensor(value)


def _norm(value: Tensor) -> float:
    return float(torch.linalg.vector_norm(value, dtype=torch.float64))


def _ratio(distance: float, norm: float) -> float:
    return distance / norm if norm else (math.inf if distance else 0.0)


def largest(value: Tensor) -> float:
    """The largest finite magnitude; 0 where there is none."""
    finite = value.double()[value.isfinite()]
    return float(finite.abs().max()) if finite.numel() else 0.0


def rms(value: Tensor) -> float:
    return float(value.double().square().mean().sqrt()) if value.numel() else 0.0


def whole(value: Tensor) -> bool:
    """Whether all of it is whole numbers, and some vary."""
    return bool(value.numel()) and bool((value.double() == value.double().round()).all())
