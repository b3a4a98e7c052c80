"""Numbers from a name, the same bits on every machine. `references` has such a generator too; the harness, which
imports no reference, has this one for what it seeds itself."""

from __future__ import annotations

import hashlib
import math

import numpy as np
from numpy.typing import NDArray

UNIT = 2.0**-23


def integers(name: str, *shape: int) -> NDArray[np.int64]:
    """Return whole numbers from -2^23 up to 2^23, evenly spread."""
    count = math.prod(shape)
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little")
    words = np.random.Philox(key=key).random_raw((count + 1) // 2).astype("<u8", copy=False).view("<u4")[:count]
    return ((words >> 8).astype(np.int64) - 2**23).reshape(shape)


def uniform(name: str, *shape: int) -> NDArray[np.float32]:
    """Return numbers in [-1, 1)."""
    return (integers(name, *shape) * UNIT).astype(np.float32)


def balanced(name: str, *shape: int) -> NDArray[np.float32]:
    """Return numbers like `uniform`, whose sum for each index of the first axis is exactly zero."""
    values = integers(name, *shape).reshape(shape[0], -1)
    values -= values.sum(axis=1, keepdims=True) // values.shape[1]
    return (values.reshape(shape) * UNIT).astype(np.float32)
