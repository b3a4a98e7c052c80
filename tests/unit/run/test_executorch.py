"""ExecuTorch behind the runtime protocol, on a small program that is built here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from parity.base.libraries import installed
from parity.blame.failure import Failure
from parity.blame.package.search import blame_method
from parity.build import program as building
from parity.declarations import Case, Dim, Reference, Stage, System, Variant, f32, i32
from parity.judge import program as gates
from parity.plan.checks import format_of, plan
from parity.run.child import Limits
from parity.run.choice import runtime
from parity.run.executorch import ExecuTorch, Session
from parity.run.program import Program
from parity.run.runtime import RuntimeFailure
from tests.support import child_services

pytestmark = pytest.mark.skipif(
    not installed("executorch"), reason="executorch is not installed: make extra-executorch"
)

ROWS = Dim("rows", 2, 6)
PTE = Variant("pte-fp32", "float32", format="pte")
CONTRACT = {"top_k": 50, "threshold": 0.5}
FACTS = {"parity.weights": "those"}
X = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)


class Mixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.second(torch.relu(self.first(x)))
        return hidden, torch.cumsum(hidden, 1) + shift


class Adder(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x - y


def stage(name: str, module: Any, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Stage:
    return Stage(name, lambda upstream: module(), inputs, outputs, (PTE,), trace_at={"rows": 3})


MIXER = stage("mixer", Mixer, {"x": f32(ROWS, 8), "shift": i32(1)}, {"mixed": f32(ROWS, 8), "summed": f32(ROWS, 8)})
ADDER = stage("adder", Adder, {"x": f32(1, 8), "y": f32(1, 8)}, {"sum": f32(1, 8)})
INPUTS = {"x": X, "shift": np.array([2], np.int32)}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "model.pte"
    building.write([MIXER, ADDER], {"mixer": Mixer().eval(), "adder": Adder()}, path, FACTS, CONTRACT)
    return path


@pytest.fixture(scope="module")
def executorch() -> ExecuTorch:
    return ExecuTorch()


@pytest.fixture(scope="module")
def mixer(path: Path, executorch: ExecuTorch) -> Session:
    return executorch.load(path, function="mixer")


@pytest.fixture(scope="module")
def described(path: Path, executorch: ExecuTorch) -> Program:
    return executorch.describe(path)


def test_a_method_computes_what_its_module_does(mixer: Session) -> None:
    expected = Mixer()(torch.from_numpy(X), torch.tensor([2]))
    outputs = mixer.run(INPUTS)
    assert list(outputs) == ["mixed", "summed"]
    for value, wanted in zip(outputs.values(), expected, strict=True):
        np.testing.assert_allclose(value, wanted.detach().numpy(), rtol=0, atol=1e-6)
    assert mixer.load_seconds > 0
    assert mixer.run_seconds > 0


def test_inputs_go_by_name_whatever_their_order(path: Path, executorch: ExecuTorch) -> None:
    one, two = np.ones((1, 8), np.float32), np.full((1, 8), 3, np.float32)
    adder = executorch.load(path, function="adder")
    np.testing.assert_array_equal(adder.run({"y": two, "x": one})["sum"], np.full((1, 8), -2))


@pytest.mark.parametrize(
    ("inputs", "complaint"),
    [
        ({"x": X}, "input 'shift' is missing"),
        ({**INPUTS, "z": X}, "unknown input 'z'; the package takes x, shift"),
        ({**INPUTS, "shift": np.array([2])}, "input 'shift' has the dtype int64 where the package declares int32"),
    ],
    ids=["missing", "unknown", "dtype"],
)
def test_wrong_inputs_are_refused(mixer: Session, inputs: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        mixer.run(inputs)


def test_more_than_the_upper_bound_is_an_error_and_leaves_the_session_usable(mixer: Session) -> None:
    with pytest.raises(RuntimeFailure, match=r"(?s)model\.pte, method mixer: .*another upper bound"):
        mixer.run({**INPUTS, "x": np.zeros((7, 8), np.float32)})
    assert mixer.run(INPUTS)["mixed"].shape == (3, 8)


def test_an_unknown_method_and_a_broken_file_are_named(path: Path, executorch: ExecuTorch, tmp_path: Path) -> None:
    with pytest.raises(RuntimeFailure, match="the program lacks the method 'talker'; it has adder, mixer"):
        executorch.load(path, function="talker")
    broken = tmp_path / "broken.pte"
    broken.write_bytes(path.read_bytes()[:500])
    with pytest.raises(RuntimeFailure, match=r"broken\.pte"):
        executorch.load(broken, function="mixer")
    with pytest.raises(ValueError, match="there is no such package"):
        executorch.load(tmp_path / "none.pte", function="mixer")


def test_a_child_that_hangs_or_dies_is_killed_and_replaced(path: Path) -> None:
    hangs = ExecuTorch(Limits(load=20, run=0.5), loader=child_services.program_host)
    with pytest.raises(RuntimeFailure, match=r"method hang: .*no answer within 0\.5 s, killed"):
        hangs.load(path, function="hang")
    with pytest.raises(RuntimeFailure, match=r"method kill: .*killed by SIGKILL"):
        hangs.load(path, function="kill")


def test_a_program_tells_its_methods_its_numbers_and_what_fell_back(described: Program) -> None:
    method = described.methods["mixer"]
    assert sorted(described.methods) == ["adder", "mixer"]
    assert method.inputs["x"].sizes == (6, 8)
    assert method.delegated == 2
    assert method.fallback["aten::cumsum"] == 1
    assert described.constants == CONTRACT
    assert described.metadata["facts"] == FACTS


def faults(program: Program, of: Stage = MIXER, contract: Mapping[str, float] = CONTRACT) -> str:
    found = gates.findings(program, of, PTE, contract, FACTS, Mixer)
    return "\n".join(f"{finding.gate}: {finding.message}" for finding in found if not finding.passed)


def test_a_program_as_declared_passes_its_gates(described: Program) -> None:
    assert not faults(described)
    assert not faults(described, ADDER)
    told = [finding.message for finding in gates.findings(described, MIXER, PTE, CONTRACT, FACTS, Mixer)]
    assert any("2 calls of XNNPACK" in line and "aten::cumsum × 1" in line for line in told)


def test_a_method_that_is_missing_or_of_another_interface_fails_by_name(described: Program) -> None:
    assert "manifest: method `talker` is missing" in faults(described, replace(MIXER, name="talker"))
    other = replace(MIXER, inputs={"x": f32(Dim("rows", 2, 9), 8), "shift": i32(1)})
    assert "input `x` is float32 (6, 8), declared is float32 (9, 8)" in faults(described, other)
    renamed = replace(MIXER, outputs={"mixed": f32(ROWS, 8), "total": f32(ROWS, 8)})
    assert "output `total`, declared as float32 (6, 8), is missing; output `summed`, float32 (6, 8), is not" in faults(
        described, renamed
    )
    swapped = replace(ADDER, inputs=dict(reversed(ADDER.inputs.items())))
    assert "the inputs are x, y in their order, declared are y, x" in faults(described, swapped)


def test_a_stale_program_fails_by_the_name_of_its_number(described: Program) -> None:
    assert "contract: `top_k` is 50, the host uses 40" in faults(described, contract={**CONTRACT, "top_k": 40})
    assert "contract: `eos` is missing, the host uses 9" in faults(described, contract={**CONTRACT, "eos": 9})
    stale = replace(described, metadata={"facts": {"parity.weights": "others"}})
    assert "parity.weights is others, not those" in faults(stale)


def test_a_program_that_nothing_was_delegated_of_fails(described: Program) -> None:
    method = replace(described.methods["mixer"], delegated=0, fallback={"aten::addmm": 2})
    plain = replace(described, methods={**described.methods, "mixer": method})
    assert "placement: no backend takes any op" in faults(plain)
    assert not faults(plain, replace(MIXER, portable=True))


def test_a_runtime_is_asked_for_what_is_built_for_it() -> None:
    core = replace(ADDER, name="core", variants=(Variant("fp32", "float32", ships=True),))
    both = replace(ADDER, variants=(Variant("fp32", "float32", ships=True), PTE))
    reference = Reference(
        "made_up", 8_000, (Case("a", {}),), (), None, None, lambda path: None, lambda model, case: iter(())
    )
    system = System(reference, (both, replace(both, name="second")), lambda run, case: None)
    checks = list(plan(system, reference.cases, [runtime("milrun"), ExecuTorch()]))
    asked = {(check.stage, check.variant, check.runtime) for check in checks if check.mode != "module"}
    assert ("adder", "pte-fp32", "executorch") in asked
    assert ("chain", "pte-fp32", "executorch") in asked
    assert ("chain", "ships", "milrun") in asked
    assert not {(variant, name) for _, variant, name in asked} & {("pte-fp32", "milrun"), ("ships", "executorch")}
    with pytest.raises(ValueError, match="one chain cannot join core fp32, a mlpackage, and adder pte-fp32, a pte"):
        format_of({"core": core.variants[0], "adder": PTE})


def test_a_failure_is_blamed_on_the_module_or_on_what_was_made_of_it() -> None:
    truth = {"sum": np.linspace(0.0, 1.0, 64, dtype=np.float32)}
    wrong = {"sum": truth["sum"] * np.float32(1.5)}
    found = Failure(stage=ADDER, inputs={}, reference=truth, candidate=wrong, outputs=["sum"])
    lowered, module = blame_method(found, truth), blame_method(found, wrong)
    assert (lowered.fault, lowered.looks_like) == ("graph", "gain 1.5×")
    assert "export, lowering or quantization" in lowered.detail
    assert module.fault == "module"
