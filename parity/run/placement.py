"""Placement of a package's ops on devices, counted from Core ML's compute plan.

The compute units asked for do not decide where an op runs: Core ML moves an op that a device does not support to
another device without a message.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parity.declarations import ComputeUnits
from parity.run.child import Child, Limits, Service
from parity.run.coreml import MENDS, coremltools_for
from parity.run.runtime import check_target

_DEVICES = {
    "MLNeuralEngineComputeDevice": "neural_engine",
    "MLGPUComputeDevice": "gpu",
    "MLCPUComputeDevice": "cpu",
}
_UNKNOWN = "unknown"


@dataclass(frozen=True)
class Placement:
    """The ops of a package by device: `neural_engine`, `gpu`, `cpu`, or `unknown` where Core ML names no device.

    Attributes:
        ops: Number of ops on each device, constants not counted.
        shares: Each device's share of the estimated cost of all ops. Empty where Core ML estimates nothing.
    """

    ops: Mapping[str, int]
    shares: Mapping[str, float]


def placement(
    package: Path,
    compute_units: ComputeUnits = "ALL",
    function: str | None = None,
    *,
    limits: Limits | None = None,
    loader: Callable[..., Service] | None = None,
) -> Placement:
    """Return Core ML's placement of a package, compiled in a child process because compiling can hang or kill it.

    Args:
        package: The `.mlpackage`.
        compute_units: The compute units to plan for.
        function: The function of the package, where it has several.
        limits: Seconds after which the child is killed.
        loader: Replaces `open_plan` in tests.
    """
    check_target(package, compute_units)
    arguments = {"package": str(package.resolve()), "compute_units": compute_units, "function": function}
    subject = f"{package}, placement on compute units {compute_units}"
    child = Child(loader or open_plan, arguments, subject=subject, mends=MENDS, limits=limits or Limits())
    child.close()
    placed: Placement = child.about
    return placed


def open_plan(package: str, compute_units: ComputeUnits, function: str | None) -> Service:
    """Compile and count in the child."""
    ct = coremltools_for(stand_in=False)
    from coremltools.models.compute_plan import MLComputePlan

    compiled = ct.models.utils.compile_model(package)
    try:
        return Counted(count(MLComputePlan.load_from_path(compiled, ct.ComputeUnit[compute_units]), function))
    finally:
        shutil.rmtree(compiled, ignore_errors=True)


@dataclass(frozen=True)
class Counted:
    """A service whose description is all that it has to say."""

    placement: Placement

    def about(self) -> Placement:
        return self.placement


def count(plan: Any, function: str | None = None) -> Placement:
    """Count a coremltools `MLComputePlan`, including nested blocks and all parts of a pipeline."""
    ops = dict.fromkeys((*_DEVICES.values(), _UNKNOWN), 0)
    costs = dict.fromkeys(ops, 0.0)
    for operation in _operations(plan.model_structure, function):
        usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
        device = type(usage.preferred_compute_device).__name__ if usage else ""
        place = _DEVICES.get(device, _UNKNOWN)
        ops[place] += 1
        costs[place] += _cost(plan, operation)
    if not any(ops.values()):
        raise ValueError("the compute plan has no ops: nothing was placed")
    total = sum(costs.values())
    return Placement(ops, {device: cost / total for device, cost in costs.items()} if total > 0 else {})


def _operations(structure: Any, function: str | None) -> Iterator[Any]:
    """Yield the ops of a program. Constants are data, which is not placed."""
    if structure.pipeline is not None:
        parts = structure.pipeline.sub_models
        for _, part in parts.items() if isinstance(parts, Mapping) else parts:
            yield from _operations(part, function)
    elif structure.program is not None:
        functions = structure.program.functions
        name = function or (next(iter(functions)) if len(functions) == 1 else "main")
        if name not in functions:
            raise ValueError(f"the compute plan has no function {name!r}, only {', '.join(functions)}")
        yield from _in_block(functions[name].block)
    else:
        raise ValueError("the compute plan is not of an ML program: convert the stage with convert_to='mlprogram'")


def _in_block(block: Any) -> Iterator[Any]:
    for operation in block.operations:
        # Core ML puts the opset in front: "ios17.conv".
        if not str(operation.operator_name).rpartition(".")[2].startswith("const"):
            yield operation
        for inner in operation.blocks:
            yield from _in_block(inner)


def _cost(plan: Any, operation: Any) -> float:
    """Return an op's estimated cost. An op with blocks has none of its own: its estimate may include their ops."""
    if any(True for block in operation.blocks for _ in _in_block(block)):
        return 0.0
    cost = plan.get_estimated_cost_for_mlprogram_operation(operation)
    return 0.0 if cost is None else float(cost.weight)
