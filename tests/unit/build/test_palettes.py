"""Palettes are those of coremltools, bit for bit, and each weight is clustered once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import coremltools as ct
import pytest
import torch
from coremltools.optimize import coreml
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

    monkeypatch.setattr(palettes, "clustered", lambda *_: pytest.fail("clustered again"))
    compress(variant, plain, tmp_path / "twice.mlpackage", {}, known)
    assert (tmp_path / "twice.mlpackage" / WEIGHTS).read_bytes() == theirs
