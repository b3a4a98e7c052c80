"""A fast equivalent of the suite's generator of random inputs, which draws one element at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

_MAX_ROUNDS = 10_000


def random_gen(
    shape: Any,
    rand_min: float = 0.0,
    rand_max: float = 1.0,
    eps_from_int: float = 0.0,
    allow_duplicate: bool = True,
    dtype: Any = np.float32,
) -> Any:
    """Uniform values that fp16 holds exactly, further than ``eps_from_int`` from every integer unless integers."""
    drawn_as = np.float16 if dtype == np.float32 else dtype
    count = int(np.prod(shape))
    values = np.empty(0, drawn_as)
    for _ in range(_MAX_ROUNDS):
        if values.size >= count:
            return values[:count].reshape(shape).astype(dtype)
        more = np.random.random(count - values.size) * (rand_max - rand_min) + rand_min
        more = more.astype(drawn_as)
        if not np.issubdtype(drawn_as, np.integer):
            more = more[np.fabs(np.round(more) - more) > eps_from_int]
        values = np.concatenate([values, more])
        if not allow_duplicate:
            _, first = np.unique(values, return_index=True)
            values = values[np.sort(first)]
    raise ValueError(f"no {count} such values between {rand_min} and {rand_max}")
