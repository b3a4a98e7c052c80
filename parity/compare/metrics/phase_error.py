from __future__ import annotations

import math

import numpy as np

from parity.compare.metrics.registry import Array, metric
from parity.compare.metrics.spectra import blocks, spectra

WINDOW = 512
EMPTY = 1e-6
"""A bin of the candidate under this share of the reference's magnitude, at equal loudness, has no phase."""


@metric(better="lower", ideal=0.0, unit="rad", blind_to=("gain", "offset", "spike"))
def phase_error(reference: Array, candidate: Array) -> float:
    """How far the phases are apart, bin by bin of short-time spectra, weighted with the reference's energy.

    0 is in phase, π/2 what chance gives, π a flipped sign. A bin that the candidate leaves empty counts as chance.
    Blind to gain, to a constant offset, and to magnitudes in general; weakly to single values.
    """
    window = min(WINDOW, reference.shape[-1])
    hop = max(1, window // 2)
    loudness = math.sqrt(float(np.vdot(candidate, candidate) / np.vdot(reference, reference)))
    if not loudness:
        return math.nan
    total = weights = 0.0
    pairs = zip(*(blocks(values, window, hop, remove_mean=True) for values in (reference, candidate)), strict=True)
    for expected, actual in pairs:
        r, c = spectra(expected, window, hop), spectra(actual, window, hop)
        energy = np.square(r.real) + np.square(r.imag)
        cross = c * r.conj()
        empty = np.square(cross.real) + np.square(cross.imag) < np.square(EMPTY * loudness * energy)
        apart = np.where(empty, math.pi / 2, np.abs(np.arctan2(cross.imag, cross.real)))
        total += float(np.vdot(energy, apart))
        weights += float(energy.sum())
    return total / weights if weights > 0 else math.nan
