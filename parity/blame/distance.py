"""The distance of two values of any type, so that any two can be ranked."""

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
