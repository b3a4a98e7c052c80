"""Programs with weights of few bits: how they are built, what they compute, and the gate on what they hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from parity.base.libraries import installed
from parity.build import program as building
from parity.build.convert import ConversionError, call
from parity.build.program import quantized
from parity.declarations import Stage, Variant, f32, i32
from parity.judge import program as gates
from parity.run.executorch import ExecuTorch
from parity.run.program import LINEAR, Program, Weight

NEEDS = pytest.mark.skipif(not installed("executorch"), reason="executorch is not installed: make extra-executorch")
FEW = Variant("pte-8da4w", "float32", format="pte", group=32, tables=4)
PLAIN = Variant("pte-fp32", "float32", format="pte")
X = np.random.default_rng(0).standard_normal((1, 256)).astype(np.float32)
INPUTS = {"x": X, "id": np.array([7], np.int32)}


class Net(nn.Module):
    """Two linear layers that a group of 256 divides, a mean that is not a layer, and a look-up."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(256, 512), nn.Linear(512, 256, bias=False)
        self.table = nn.Embedding(10, 256)
        self.register_buffer("mean", torch.full((1, 256), 1 / 256))

    def forward(self, x: Tensor, id: Tensor) -> Tensor:
        y = self.second(torch.relu(self.first(x)))
        return y * torch.rsqrt(nn.functional.linear(y * y, self.mean) + 1e-6) + self.table(id)


STAGE = Stage("net", lambda upstream: Net(), {"x": f32(1, 256), "id": i32(1)}, {"y": f32(1, 256)}, (FEW,))


RUNTIME = ExecuTorch()


def read(folder: Path, module: nn.Module) -> Program:
    path = folder / "model.pte"
    building.write([STAGE], {"net": module.eval()}, path, {}, {})
    return RUNTIME.describe(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the program as it ought to be."""
    made = tmp_path_factory.mktemp("few")
    read(made, quantized(Net().eval(), STAGE, FEW))
    return made


@pytest.fixture
def program(folder: Path) -> Program:
    return RUNTIME.describe(folder / "model.pte")


def faults(program: Program, variant: Variant = FEW) -> str:
    found = gates.findings(program, STAGE, variant, {}, {}, Net)
    return "\n".join(f"{finding.gate}: {finding.message}" for finding in found if not finding.passed)


@NEEDS
def test_a_program_of_few_bits_is_what_its_variant_says_and_computes_it(folder: Path, program: Program) -> None:
    assert not faults(program)
    told = [str(weight) for weight in program.methods["net"].weights]
    assert told[:2] == [f"{shape} int4 in groups of 32 on dynamic int8" for shape in ("512×256", "256×512")]
    assert told[-1] == "10×256 int4 in groups of 32"
    given = RUNTIME.load(folder / "model.pte", function="net").run(INPUTS)["y"]
    few, plain = (call(module, STAGE, INPUTS)["y"] for module in (quantized(Net().eval(), STAGE, FEW), Net()))
    assert np.linalg.norm(given - few) < 0.1 * np.linalg.norm(plain - few), "closer to its module than rounding moves"
    assert "embedding 10×256 int4 in groups of 32 is quantized, and the variant is not to be" in faults(program, PLAIN)
    assert "linear layer 512×256 int4" in faults(program, PLAIN)


@NEEDS
def test_a_program_in_another_group_fails_by_its_method_and_weight(tmp_path: Path) -> None:
    told = faults(read(tmp_path, quantized(Net().eval(), STAGE, replace(FEW, group=256, tables=8))))
    assert "compression: method `net`: linear layer 512×256 int4 in groups of 256 on dynamic int8, declared is" in told
    assert "declared is 256×512 int4 in groups of 32 on dynamic int8" in told
    assert "embedding 10×256 int8 in groups of 256, declared is 10×256 int4 in groups of 32" in told


@NEEDS
def test_a_program_that_nothing_was_quantized_of_fails_by_its_method_and_weight(tmp_path: Path) -> None:
    told = faults(read(tmp_path, Net()))
    assert "method `net`: linear layer 512×256 float32 on float32, declared is 512×256 int4 in groups of 32" in told
    assert "embedding 10×256 float32, declared is 10×256 int4 in groups of 32" in told


@NEEDS
def test_a_table_of_bytes_is_looked_up_in(tmp_path: Path) -> None:
    bytes_ = replace(FEW, tables=8)
    module = quantized(Net().eval(), STAGE, bytes_)
    assert not faults(read(tmp_path, module), bytes_)
    given = RUNTIME.load(tmp_path / "model.pte", function="net").run(INPUTS)["y"]
    np.testing.assert_allclose(given, call(module, STAGE, INPUTS)["y"], atol=0.02)


@NEEDS
def test_a_weight_is_read_as_it_is_stored(program: Program) -> None:
    module: Any = quantized(Net().eval(), STAGE, FEW)
    first, *_, table = program.methods["net"].weights
    assert first.values is not None
    assert table.values is not None
    np.testing.assert_allclose(first.values, module.first.weight.dequantize().detach(), rtol=2**-8)
    np.testing.assert_allclose(table.values[7:8], module.table(torch.tensor([7])), rtol=1e-6)


def rolled(weight: Any) -> None:
    weight.scale.copy_(weight.scale.roll(1, 1))


def floored(weight: Any) -> None:
    weight.qdata.sub_(1).clamp_(-8, 7)


def swapped(weight: Any) -> None:
    weight.qdata.copy_(weight.qdata.reshape(-1, 2).flip(1).reshape(weight.qdata.shape))


@pytest.mark.parametrize("harm", [rolled, floored, swapped])
@NEEDS
def test_a_weight_that_loses_more_than_rounding_does_is_named(tmp_path: Path, harm: Any) -> None:
    module: Any = quantized(Net().eval(), STAGE, FEW)
    harm(module.second.weight)
    told = faults(read(tmp_path, module))
    assert told.startswith("rounding: method `net`: linear layer `second`, 256×512 int4 in groups of 32")
    assert "rounding to the nearest 0.0666" in told


@NEEDS
def test_a_layer_that_no_backend_runs_is_named(program: Program) -> None:
    method = program.methods["net"]
    fewer = replace(program, methods={"net": replace(method, weights=method.weights[1:])})
    assert "1 of the linear layers `first`, 512×256, are not on a backend in int4" in faults(fewer)
    more = replace(program, methods={"net": replace(method, weights=(*method.weights, method.weights[0]))})
    assert "1 linear layers more than `first`, 512×256, which the module has" in faults(more)
    foreign = replace(
        program, methods={"net": replace(method, weights=(*method.weights, Weight(LINEAR, (8, 32), "int4", 32)))}
    )
    assert "linear layer 8×32 int4 in groups of 32: its values cannot be read" in faults(foreign)


@pytest.mark.parametrize(
    ("variant", "stage", "complaint"),
    [
        (replace(FEW, group=96), STAGE, "net pte-8da4w: groups of 96 do not divide the rows of `first`, 256, `second`"),
        (FEW, replace(STAGE, portable=True), "no portable kernel multiplies int4 weights"),
    ],
    ids=["group", "portable"],
)
@NEEDS
def test_what_cannot_be_quantized_is_refused_by_name(variant: Variant, stage: Stage, complaint: str) -> None:
    with pytest.raises(ConversionError, match=complaint):
        quantized(Net(), stage, variant)


@NEEDS
def test_a_module_without_layers_to_quantize_is_refused() -> None:
    with pytest.raises(ConversionError, match="it has no linear layer"):
        quantized(nn.ReLU(), STAGE, FEW)
    with pytest.raises(ConversionError, match="tables=4, and it has no embedding"):
        quantized(nn.ReLU(), STAGE, replace(FEW, group=None))


@NEEDS
def test_what_is_quantized_is_a_copy() -> None:
    module = Net()
    before = module.first.weight.clone()
    assert quantized(module, STAGE, FEW) is not module
    assert torch.equal(module.first.weight, before)
    assert quantized(module, STAGE, PLAIN) is module


@pytest.mark.parametrize(
    ("others", "complaint"),
    [
        ({"group": 32, "quantize": True}, "group=32 makes weights int4; it does not go with quantize"),
        ({"group": 0}, "group=0; a group has one value or more"),
        ({"tables": 4}, "a variant of the format mlpackage does not take tables"),
        ({"format": "pte", "palettize": 6}, "a variant of the format pte does not take palettize"),
        ({"format": "pte", "group": 16}, "group=16; XNNPACK takes multiples of 32"),
        ({"format": "pte", "tables": 2}, "tables=2; ExecuTorch has kernels for 4 and 8 bits"),
    ],
)
def test_a_compression_that_the_format_lacks_is_refused(others: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Variant("odd", "float32", **others)


class Sounding(nn.Module):
    """Convolutions, a softmax, a clamp and a normalization: ops that passes of XNNPACK look for, and others."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm, self.second = nn.Conv1d(4, 8, 3), nn.BatchNorm1d(8), nn.Conv1d(8, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(nn.functional.pad(torch.relu(self.norm(self.first(x))), (2, 0)))
        return torch.cat([y.softmax(-1), y.clamp(max=6)], 1)


@NEEDS
def test_passes_that_seek_what_a_graph_does_not_have_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sounding = Stage("sounding", lambda upstream: Sounding(), {"x": f32(1, 4, 16)}, {"y": f32(1, 8, 14)}, (PLAIN,))
    each = (STAGE, Net().eval()), (sounding, Sounding().eval())
    for stage, module in each:
        building.write([stage], {stage.name: module}, tmp_path / f"{stage.name}.pte", {}, {})
        assert RUNTIME.describe(tmp_path / f"{stage.name}.pte").methods[stage.name].delegated
    monkeypatch.setattr(building, "SOUGHT", {})
    for stage, module in each:
        building.write([stage], {stage.name: module}, tmp_path / "all.pte", {}, {})
        assert (tmp_path / "all.pte").read_bytes() == (tmp_path / f"{stage.name}.pte").read_bytes()
