"""A compute plan, counted: devices, shares of cost, fallbacks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from parity.run import RuntimeFailure
from parity.run.placement import Fallback, Placement, count, placement


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
    placed = count(Plan(MIXED), "ALL")
    assert (placed.neural_engine, placed.gpu, placed.cpu, placed.unknown, placed.total) == (2, 1, 1, 0, 4)


def test_shares_are_of_the_estimated_cost_without_constants() -> None:
    shares = count(Plan(MIXED), "ALL").shares
    assert shares == pytest.approx({"neural_engine": 0.7, "cpu": 0.2, "gpu": 0.1, "unknown": 0.0})


def test_fallbacks_are_the_ops_off_the_device_that_was_wanted() -> None:
    expected = (Fallback("a", "atan", "cpu", ("cpu",)), Fallback("s", "add", "gpu", ("gpu", "cpu")))
    assert count(Plan(MIXED), "ALL").fallbacks == expected
    assert [found.name for found in count(Plan(MIXED), "CPU_AND_GPU").fallbacks] == ["c", "r", "a"]


def test_an_op_that_core_ml_says_nothing_of_is_counted_as_unknown_and_as_a_fallback() -> None:
    placed = count(Plan(program(main=block(op("conv", "c", NE, 1.0), op("odd", "o")))), "CPU_AND_NE")
    assert (placed.neural_engine, placed.unknown, placed.uncosted) == (1, 1, 1)
    assert placed.fallbacks == (Fallback("o", "odd", "unknown", ()),)


def test_a_device_that_is_not_known_is_not_taken_for_another() -> None:
    placed = count(Plan(program(main=block(op("conv", "c", MLQuantumComputeDevice(), 1.0)))), "ALL")
    assert (placed.unknown, placed.total) == (1, 1)


def test_nested_blocks_are_counted_and_their_cost_only_once() -> None:
    branches = [block(op("mul", "m", NE, 0.3), op("const", "k")), block(op("cond", "inner", CPU, 0.1, [block()]))]
    placed = count(Plan(program(main=block(op("cond", "outer", CPU, 0.4, branches), op("add", "s", NE, 0.6)))), "ALL")
    assert (placed.neural_engine, placed.cpu, placed.total) == (2, 2, 4)
    assert placed.shares == pytest.approx({"neural_engine": 0.9, "cpu": 0.1, "gpu": 0.0, "unknown": 0.0})


def test_without_any_estimate_there_are_no_shares_rather_than_good_ones() -> None:
    placed = count(Plan(program(main=block(op("conv", "c", NE)))), "ALL")
    assert (placed.shares, placed.uncosted) == ({}, 1)


@pytest.mark.parametrize("empty", [block(), block(op("const", "k"))], ids=["empty", "only constants"])
def test_a_plan_without_ops_is_an_error(empty: Any) -> None:
    with pytest.raises(ValueError, match="nothing was placed"):
        count(Plan(program(main=empty)), "ALL")


def test_a_function_is_chosen_by_name_and_main_is_the_default() -> None:
    plan = Plan(program(main=block(op("conv", "c", NE)), step=block(op("add", "s", CPU), op("add", "t", CPU))))
    assert count(plan, "ALL").total == 1
    assert count(plan, "ALL", "step").total == 2
    assert count(Plan(program(only=block(op("conv", "c", NE)))), "ALL").total == 1
    with pytest.raises(ValueError, match="no function 'stop', only main, step"):
        count(plan, "ALL", "stop")


@pytest.mark.parametrize("kind", [dict, list])
def test_all_parts_of_a_pipeline_are_counted(kind: Any) -> None:
    parts = [("one", MIXED), ("two", program(main=block(op("conv", "z", NE, 1.0))))]
    pipeline = SimpleNamespace(program=None, neuralnetwork=None, pipeline=SimpleNamespace(sub_models=kind(parts)))
    assert count(Plan(pipeline), "ALL").total == 5


def test_a_model_that_is_no_ml_program_is_an_error() -> None:
    with pytest.raises(ValueError, match="no ML program"):
        count(Plan(SimpleNamespace(program=None, pipeline=None, neuralnetwork=object())), "ALL")


def test_a_placement_comes_from_a_child_process_whole(tmp_path: Path) -> None:
    placed = placement(tmp_path, "CPU_AND_NE", loader="tests.support.child_services:placed")
    assert (placed.compute_units, placed.neural_engine, placed.cpu, placed.total) == ("CPU_AND_NE", 3, 1, 4)
    assert placed.fallbacks == (Fallback("y", "atan", "cpu", ("cpu", "gpu")),)


def test_a_placement_survives_json() -> None:
    placed = count(Plan(MIXED), "ALL")
    data: Mapping[str, Any] = json.loads(json.dumps(placed.as_json()))
    assert Placement.from_json(data) == placed


@pytest.mark.skipif("sys.platform == 'darwin'", reason="macOS has Core ML")
def test_placement_without_core_ml_is_a_failure_that_names_the_mend(tmp_path: Path) -> None:
    with pytest.raises(RuntimeFailure, match=r"placement on compute units ALL, loading: .*Core ML is part of macOS"):
        placement(tmp_path)


def test_the_placement_of_a_package_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no such package"):
        placement(tmp_path / "absent.mlpackage")
