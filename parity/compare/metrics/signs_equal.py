from __future__ import annotations

import numpy as np

from parity.compare.metrics.registry import Array, metric


@metric(better="higher", ideal=1.0, blind_to=("gain", "spike"))
def signs_equal(reference: Array, candidate: Array) -> float:
    """The share of margins on the same side of zero: of decisions that come out as upstream's do.

    Blind to whatever moves a margin and leaves it on its side.
    """
    return float(np.mean((reference > 0) == (candidate > 0)))
