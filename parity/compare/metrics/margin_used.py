from __future__ import annotations

import numpy as np

from parity.compare.metrics.registry import Array, metric


@metric(better="lower", ideal=0.0, blind_to=("gain", "spike"))
def margin_used(reference: Array, candidate: Array) -> float:
    """How much of its margin the decision that came nearest to another outcome has used up; 1 turns it over.

    Only what moves towards zero counts. A margin of exactly zero is used up by whatever moves it.
    """
    none = reference == 0
    used = 1 - candidate / np.where(none, 1.0, reference)
    return float(np.where(none, candidate != 0, np.maximum(used, 0.0)).max(initial=0.0))
