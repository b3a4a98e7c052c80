"""Placement counted from a compute plan: ops by device and shares of the cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from parity.run.placement import Placement, count, placement
from parity.run.runtime import RuntimeFailure
from tests.support import child_services


class MLNeuralEngineComputeDevice:
    pass


class MLGPUComputeDevice:
    pass


class MLCPUComputeDevice:
    pass


class MLQuantumComputeDevice:
    pass


NE, GPU, CPU = MLNeuralEngineComputeDevice(), MLGPUComputeDevice(), MLCPUComputeDevice()


def op(kind: str, name: str, device: Any = None, cost: float | None = None, blocks: Sequence[Any] = ()) -> Any:
    outputs = [SimpleNamespace(name=name)]
    return SimpleNamespace(operator_name=kind, outputs=outputs, blocks=list(blocks), device=device, cost=cost)


def block(*operations: Any) -> Any:
    return SimpleNamespace(operations=list(operations))


def program(**functions: Any) -> Any:
    held = {name: SimpleNamespace(block=body) for name, body in functions.items()}
    return SimpleNamespace(program=SimpleNamespace(functions=held), pipeline=None, neuralnetwork=None)


class Plan:
    """What coremltools' MLComputePlan answers, as far as it is asked."""

    def __init__(self, structure: Any) -> None:
        self.model_structure = structure

    def get_compute_device_usage_for_mlprogram_operation(self, operation: Any) -> Any:
        if operation.device is None:
            return None
        supported = [operation.device] if operation.device is CPU else [operation.device, CPU]
        return SimpleNamespace(preferred_compute_device=operation.device, supported_compute_devices=supported)

    def get_estimated_cost_for_mlprogram_operation(self, operation: Any) -> Any:
        return None if operation.cost is None else SimpleNamespace(weight=operation.cost)


MIXED = program(
    main=block(
        op("const", "weight"),
        op("ios16.constexpr_lut_to_dense", "table", CPU, 0.5),
        op("ios17.conv", "c", NE, 0.6),
        op("ios17.relu", "r", NE, 0.1),
        op("ios17.atan", "a", CPU, 0.2),
        op("ios17.add", "s", GPU, 0.1),
    )
)


def test_ops_are_counted_per_device_and_constants_are_not() -> None:
    assert count(Plan(MIXED)).ops == {"neural_engine": 2, "gpu": 1, "cpu": 1, "unknown": 0}


def test_shares_are_of_the_estimated_cost_without_constants() -> None:
    assert count(Plan(MIXED)).shares == pytest.approx({"neural_engine": 0.7, "cpu": 0.2, "gpu": 0.1, "unknown": 0.0})


def test_an_op_on_no_device_or_an_unknown_one_is_counted_as_unknown() -> None:
    quantum = op("conv", "c", MLQuantumComputeDevice(), 1.0)
    assert count(Plan(program(main=block(quantum, op("odd", "o"))))).ops["unknown"] == 2


def test_nested_blocks_are_counted_and_their_cost_only_once() -> None:
    branches = [block(op("mul", "m", NE, 0.3), op("const", "k")), block(op("cond", "inner", CPU, 0.1, [block()]))]
    placed = count(Plan(program(main=block(op("cond", "outer", CPU, 0.4, branches), op("add", "s", NE, 0.6)))))
    assert placed.ops == {"neural_engine": 2, "gpu": 0, "cpu": 2, "unknown": 0}
    assert placed.shares == pytest.approx({"neural_engine": 0.9, "cpu": 0.1, "gpu": 0.0, "unknown": 0.0})


def test_a_plan_without_estimates_has_no_shares() -> None:
    assert count(Plan(program(main=block(op("conv", "c", NE))))).shares == {}


@pytest.mark.parametrize("empty", [block(), block(op("const", "k"))], ids=["empty", "only constants"])
def test_a_plan_without_ops_is_an_error(empty: Any) -> None:
    with pytest.raises(ValueError, match="nothing was placed"):
        count(Plan(program(main=empty)))


def test_a_function_is_chosen_by_name_and_main_is_the_default() -> None:
    plan = Plan(program(main=block(op("conv", "c", NE)), step=block(op("add", "s", CPU), op("add", "t", CPU))))
    assert sum(count(plan).ops.values()) == 1
    assert sum(count(plan, "step").ops.values()) == 2
    assert sum(count(Plan(program(only=block(op("conv", "c", NE))))).ops.values()) == 1
    with pytest.raises(ValueError, match="no function 'stop', only main, step"):
        count(plan, "stop")


@pytest.mark.parametrize("kind", [dict, list])
def test_all_parts_of_a_pipeline_are_counted(kind: Any) -> None:
    parts = [("one", MIXED), ("two", program(main=block(op("conv", "z", NE, 1.0))))]
    pipeline = SimpleNamespace(program=None, neuralnetwork=None, pipeline=SimpleNamespace(sub_models=kind(parts)))
    assert sum(count(Plan(pipeline)).ops.values()) == 5


def test_a_model_that_is_no_ml_program_is_an_error() -> None:
    with pytest.raises(ValueError, match="not of an ML program"):
        count(Plan(SimpleNamespace(program=None, pipeline=None, neuralnetwork=object())))


def test_a_placement_comes_from_a_child_process_whole(tmp_path: Path) -> None:
    placed = placement(tmp_path, "CPU_AND_NE", loader=child_services.placed)
    assert placed == Placement({"neural_engine": 3, "cpu": 1}, {"neural_engine": 0.75, "cpu": 0.25})


@pytest.mark.skipif("sys.platform == 'darwin'", reason="macOS has Core ML")
def test_placement_without_core_ml_is_a_failure_that_names_the_mend(tmp_path: Path) -> None:
    with pytest.raises(RuntimeFailure, match=r"placement on compute units ALL, loading: .*Core ML is part of macOS"):
        placement(tmp_path)


def test_the_placement_of_a_package_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no such package"):
        placement(tmp_path / "absent.mlpackage")
