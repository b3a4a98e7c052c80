"""Palettes are those of coremltools, bit for bit, and each weight is clustered once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
import torch
from coremltools.optimize import coreml
from coremltools.optimize.coreml._quantization_passes import palettize_weights
from sklearn.cluster import _kmeans
from torch import nn

from parity.base.cache import Cache
from parity.build import palettes
from parity.build.convert import compress, convert, traceable
from parity.build.palettes import Palettes
from parity.declarations import Stage, Variant, f32

WEIGHTS = Path("Data", "com.apple.CoreML", "weights", "weight.bin")


class Two(nn.Module):
    """A weight above and one below the size from which on coremltools has another algorithm for half precision."""

    def __init__(self, upstream: Any = None) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.large, self.small = nn.Linear(64, 256), nn.Linear(256, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.small(self.large(x).relu())


@pytest.mark.parametrize("precision", ["float16", "float32"])
def test_a_palettized_package_is_coremltools_own(
    tmp_path: Path, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variant = Variant("pal6", precision, palettize=6)  # type: ignore[arg-type]
    stage = Stage("two", Two, {"x": f32(1, 64)}, {"y": f32(1, 10)}, (variant,))
    plain = tmp_path / "plain.mlpackage"
    convert(stage, Variant(precision, precision), traceable(stage, None), plain, {})  # type: ignore[arg-type]
    config = coreml.OptimizationConfig(global_config=coreml.OpPalettizerConfig(mode="kmeans", nbits=6))
    coreml.palettize_weights(ct.models.MLModel(str(plain), skip_model_load=True), config).save(
        str(tmp_path / "theirs.mlpackage")
    )
    theirs = (tmp_path / "theirs.mlpackage" / WEIGHTS).read_bytes()

    known = Palettes(Cache(tmp_path / "cache"))
    compress(variant, plain, tmp_path / "once.mlpackage", {}, known)
    assert (tmp_path / "once.mlpackage" / WEIGHTS).read_bytes() == theirs

    monkeypatch.setattr(np, "savez", lambda *_, **__: pytest.fail("clustered again"))
    compress(variant, plain, tmp_path / "twice.mlpackage", {}, known)
    assert (tmp_path / "twice.mlpackage" / WEIGHTS).read_bytes() == theirs


def theirs(weight: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    values, indices = palettize_weights._get_lut_and_indices(weight, "KMEANS", bits, None)
    return values, indices


@pytest.mark.parametrize("bits", [8, 6, 4, 2, 1])
@pytest.mark.parametrize("size", [10_000, 48_000])
def test_the_palette_of_a_weight_in_half_precision_is_coremltools_own(size: int, bits: int) -> None:
    weight = (0.05 * np.random.default_rng(1).standard_t(4, (8, size // 8))).astype(np.float16)
    weight[0, :4] = [0.0, -0.0, 0.0, -0.0]
    assert palettes._best(weight, 1 << bits) is not None, "coremltools would be compared with itself"
    for found, wanted in zip(palettes.clustered(weight, bits), theirs(weight, bits), strict=True):
        assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
        assert np.array_equal(found, wanted)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("size", [64, 2_000, 48_000])
def test_the_palette_of_a_weight_in_full_precision_is_coremltools_own(size: int, bits: int) -> None:
    weight = (0.05 * np.random.default_rng(3).standard_t(4, (8, size // 8))).astype(np.float32)
    assert callable(getattr(_kmeans, palettes.DISTANCES)), "coremltools would be compared with itself"
    for found, wanted in zip(palettes.clustered(weight, bits), theirs(weight, bits), strict=True):
        assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
        assert np.array_equal(found, wanted)


@pytest.mark.parametrize(
    "weight",
    [
        np.linspace(-2, 2, 40_000),
        np.round(40 * np.random.default_rng(2).standard_normal(20_000)),
        np.zeros(10_000),
        np.repeat([-0.0, 0.0, 1.0], 5_000),
        np.full(10_000, np.inf),
    ],
    ids=["even", "few", "zeros", "signed", "infinite"],
)
def test_where_several_palettes_are_best_one_of_them_is_found(weight: np.ndarray) -> None:
    """Even values can be divided in several ways, and one value in many."""
    half = weight.astype(np.float16)
    errors = []
    for values, indices in (palettes.clustered(half, 6), theirs(half, 6)):
        with np.errstate(invalid="ignore"):
            errors.append(np.square(half - values.astype(np.float64)[indices]).sum())
    assert errors[0] == pytest.approx(errors[1], rel=1e-3, nan_ok=True)
