"""A `.pte` from stages: which methods a backend may take, and modules whose caches have no names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from parity.base.lockfile import installed
from parity.build import program
from parity.declarations import Stage, Variant, real
from parity.run.executorch import ExecuTorch

pytestmark = pytest.mark.skipif(
    not installed("executorch"), reason="executorch is not installed: make extra-executorch"
)
ROW = real(1, 8)
VARIANTS = (Variant("pte-fp32", "float32", format="pte"),)


class Summing(nn.Module):
    def forward(self, x: Tensor, *caches: Tensor) -> tuple[Tensor, ...]:
        return (torch.sigmoid(x) + caches[0] * caches[1], *(cache + x for cache in caches))


def stage(name: str, portable: bool) -> Stage:
    inputs = {"x": ROW, "cache0": ROW, "cache1": ROW}
    outputs = {"y": ROW, "cache0_out": ROW, "cache1_out": ROW}
    return Stage(name, lambda upstream: Summing(), inputs, outputs, VARIANTS, portable=portable)


def test_a_backend_takes_nothing_of_a_portable_stage(tmp_path: Path) -> None:
    stages = stage("lowered", portable=False), stage("portable", portable=True)
    path = tmp_path / "model.pte"
    program.write(stages, {each.name: Summing() for each in stages}, path, {}, {})
    methods = ExecuTorch().describe(path).methods
    assert methods["lowered"].delegated > 0
    assert methods["portable"].delegated == 0
    assert methods["portable"].fallback
    assert list(methods["lowered"].inputs) == ["x", "cache0", "cache1"]
