"""Known wrong conversions must show: milrun executes what the package says, not what its author meant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import coremltools as ct
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import milrun
from tests.milrun.packages import save


class _Function(nn.Module):
    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs)


def _convert(folder: Path, function: Callable[..., Tensor], *examples: Tensor) -> milrun.Model:
    traced = torch.jit.trace(_Function(function).eval(), examples)
    inputs = [ct.TensorType(name=f"x{i}", shape=tuple(e.shape)) for i, e in enumerate(examples)]
    loaded = milrun.load(save(folder / "m.mlpackage", traced, inputs=inputs, outputs=[ct.TensorType(name="y")]))
    assert isinstance(loaded, milrun.Model)
    return loaded


def test_remainder_by_one_gives_zeros(tmp_path: Path) -> None:
    x = torch.tensor([[0.25, 1.75, -0.5]])
    model = _convert(tmp_path, lambda x: x % 1, x)
    assert (x % 1).abs().max() > 0
    np.testing.assert_array_equal(model.predict({"x0": x.numpy()})["y"], np.zeros((1, 3)))


def test_remainder_by_two_is_right(tmp_path: Path) -> None:
    x = torch.tensor([[0.25, 3.75, -0.5]])
    model = _convert(tmp_path, lambda x: x % 2, x)
    np.testing.assert_allclose(model.predict({"x0": x.numpy()})["y"], (x % 2).numpy(), atol=1e-6)


def test_atan2_of_zero_and_minus_one_gives_zero_and_not_pi(tmp_path: Path) -> None:
    y, x = torch.tensor([[0.0, 1.0]]), torch.tensor([[-1.0, -1.0]])
    model = _convert(tmp_path, torch.atan2, y, x)
    found = model.predict({"x0": y.numpy(), "x1": x.numpy()})["y"]
    assert found[0, 0] == pytest.approx(0.0, abs=1e-6)
    assert found[0, 1] == pytest.approx(3 * np.pi / 4, abs=1e-5)
