"""A `.pte` from stages: which methods a backend may take, and modules whose caches have no names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from parity.base.libraries import installed
from parity.build import program
from parity.declarations import Dim, Stage, Variant, real
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


class Parts(nn.Module):
    """Two products with weights that are parts of one tensor."""

    first: Tensor
    second: Tensor

    def __init__(self) -> None:
        super().__init__()
        both = torch.arange(128.0).reshape(2, 8, 8)
        self.register_buffer("first", both[0])
        self.register_buffer("second", both[1])

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return F.linear(x, self.first), F.linear(x, self.second)


def test_weights_that_are_parts_of_one_tensor_are_those_parts(tmp_path: Path) -> None:
    parts = Stage("parts", lambda upstream: Parts(), {"x": ROW}, {"first": ROW, "second": ROW}, VARIANTS)
    path, x = tmp_path / "model.pte", np.ones((1, 8), np.float32)
    program.write([parts], {"parts": Parts()}, path, {}, {})
    made = ExecuTorch().load(path, function="parts").run({"x": x})
    for value, wanted in zip(made.values(), Parts()(torch.from_numpy(x)), strict=True):
        np.testing.assert_array_equal(value, wanted.numpy())


class Smoothed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x.transpose(1, 2)).transpose(1, 2)


def test_a_size_stays_as_large_as_declared_where_convolutions_become_large(tmp_path: Path) -> None:
    rows = {"x": real(1, Dim("rows", 2, 4096), 8)}
    smoothed = Stage("smoothed", lambda upstream: Smoothed(), rows, {"y": rows["x"]}, VARIANTS, trace_at={"rows": 16})
    path = tmp_path / "model.pte"
    program.write([smoothed], {"smoothed": Smoothed().eval()}, path, {}, {})
    assert ExecuTorch().describe(path).methods["smoothed"].inputs["x"].sizes == (1, 4096, 8)
