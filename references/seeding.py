"""Numbers that are the same bits on every machine: values drawn from a name by a counter-based generator.

Only raw integers of the generator and exact arithmetic on them are used, never a library's own distributions, whose
streams may change between versions.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np


def _words(name: str, count: int) -> np.ndarray:
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little")
    return np.random.Philox(key=key).random_raw(count)


def uniform(name: str, *shape: int) -> np.ndarray:
    """Float32 in [-1, 1), with 24 bits each."""
    count = math.prod(shape)
    words = _words(name, (count + 1) // 2).astype("<u8", copy=False).view("<u4")[:count]
    return ((words >> 8).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)).reshape(shape)


def clustered(name: str, *shape: int) -> np.ndarray:
    """Float32 in [-1, 1) like `uniform`, but near one of 256 evenly spaced values, a sixteenth of a step off at most.

    Trained weights lose less by palettization than evenly spread ones do, and decisions made by them survive it; these
    behave like that at 8 bits, and break at 4.
    """
    count = math.prod(shape)
    words = _words(name, (count + 1) // 2).astype("<u8", copy=False).view("<u4")[:count]
    level = (words >> 24).astype(np.float32) - np.float32(127.5)
    off = (words & 0xFFFF).astype(np.float32) * np.float32(2.0**-19) - np.float32(2.0**-4)
    return ((level + off) * np.float32(2.0**-7)).reshape(shape)


def tailed(name: str, *shape: int, wide: int, one_in: int) -> np.ndarray:
    """Float32 of mean 0 and variance 1, normal except that one value in so many comes from a wider distribution.

    Trained weights have such tails, and a palette has to spend entries on them.

    wide: how many times wider.
    one_in: a power of two; 1 for normal values without a tail.
    """
    values = normal(name, *shape)
    if one_in == 1:
        return values
    words = _words(f"{name}/tail", (values.size + 1) // 2).astype("<u8", copy=False).view("<u4")[: values.size]
    rare = (words.reshape(shape) & np.uint32(one_in - 1)) == 0
    scale = np.float32((1 + (wide * wide - 1) / one_in) ** -0.5)
    return np.where(rare, values * np.float32(wide), values) * scale


def normal(name: str, *shape: int) -> np.ndarray:
    """Float32 of mean 0 and variance 1 within ±3.5: the sum of four 16-bit uniform numbers, which is exact.

    A longer draw begins with the shorter one of the same name.
    """
    parts = _words(name, math.prod(shape)).astype("<u8", copy=False).view("<u2").reshape(-1, 4)
    centred = parts.sum(axis=1, dtype=np.int64) - 2 * 65535
    return (centred.astype(np.float32) * np.float32(math.sqrt(3) / 65536)).reshape(shape)
