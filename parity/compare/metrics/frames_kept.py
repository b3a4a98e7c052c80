from __future__ import annotations

import numpy as np

from parity.compare.metrics.registry import Array, metric


@metric(better="higher", ideal=1.0)
def frames_kept(reference: Array, candidate: Array) -> float:
    """The frames that both keep, as a share of those that either keeps, at the call with the smallest.

    The last axis is a call's slots; one that holds no frame is negative. A frame that is kept twice counts twice. Blind
    to the order of the slots, in which one frame more would move all that follow; what they hold shows it.
    """
    calls = (values.reshape(-1, values.shape[-1]) for values in (reference, candidate))
    return min(_shared(expected, actual) for expected, actual in zip(*calls, strict=True))


def _shared(expected: Array, actual: Array) -> float:
    kept = np.concatenate([expected[expected >= 0], actual[actual >= 0]])
    _, which = np.unique(kept, return_inverse=True)
    ours = int((expected >= 0).sum())
    first, second = (np.bincount(part, minlength=len(kept)) for part in (which[:ours], which[ours:]))
    either = int(np.maximum(first, second).sum())
    return int(np.minimum(first, second).sum()) / either if either else 1.0
