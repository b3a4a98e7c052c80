"""Palettes: the values that stand for those of a weight, clustered once for each weight.

Clustering takes most of the time of a palettized artifact, and many artifacts have the same weights: those of other
sizes, an inner stage, one that is built again because its module changed.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from parity.base.cache import Cache
from parity.base.fingerprint import digest, libraries

FILE = "palette.npz"


class Palettes:
    """Palettes of weights, from the cache where they are known.

    Args:
        cache: Keeps a palette under the digest of its weight.
    """

    def __init__(self, cache: Cache) -> None:
        self.cache = cache

    def config(self, bits: int) -> Any:
        """Return coremltools' configuration that clusters every large weight to 2^bits values."""
        from coremltools.optimize import coreml

        return coreml.OpPalettizerConfig(mode="custom", lut_function=lambda weight: self.of(weight, bits))

    def of(self, weight: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the 2^bits values and the index of each element, as coremltools' own mode `kmeans` finds them."""
        parts = {
            "weight": hashlib.sha256(np.ascontiguousarray(weight).tobytes()).hexdigest(),
            "dtype": str(weight.dtype),
            "bits": bits,
            "libraries": libraries("coremltools", "numpy", "scikit-learn"),
        }

        def make(folder: Path) -> None:
            values, indices = clustered(weight, bits)
            np.savez(folder / FILE, values=values, indices=indices)

        with np.load(self.cache.get("palette", digest(parts), make, parts) / FILE) as found:
            return found["values"], found["indices"]


def clustered(weight: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of a palette and the index of each element."""
    from coremltools.optimize.coreml import _quantization_passes

    found: tuple[np.ndarray, np.ndarray] = _quantization_passes.palettize_weights._get_lut_and_indices(
        weight, "KMEANS", bits, None
    )
    return found
