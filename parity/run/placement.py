"""Where Core ML means to run each op: its compute plan, counted.

What compute units were asked for says nothing of where the ops go: one that a device does not take moves to another
in silence.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from parity.declarations import Arrays, ComputeUnits
from parity.run.child import Service
from parity.run.coreml import MENDS, coremltools_for
from parity.run.pipe import Message
from parity.run.runtime import check_target
from parity.run.watchdog import Limits, Watched

_DEVICES = {
    "MLNeuralEngineComputeDevice": "neural_engine",
    "MLGPUComputeDevice": "gpu",
    "MLCPUComputeDevice": "cpu",
}
_UNKNOWN = "unknown"
_WANTED = {"ALL": "neural_engine", "CPU_AND_NE": "neural_engine", "CPU_AND_GPU": "gpu", "CPU_ONLY": "cpu"}


@dataclass(frozen=True)
class Fallback:
    """An op that does not run on the device which the compute units are chosen for."""

    name: str
    type: str
    device: str
    supported: tuple[str, ...]


@dataclass(frozen=True)
class Placement:
    """Ops per device, constants aside, and each device's share of the estimated cost of all.

    `unknown` counts ops for which Core ML names no device; they are fallbacks too. `shares` is empty where Core ML
    estimates nothing; `uncosted` counts the ops without an estimate.
    """

    compute_units: str
    neural_engine: int
    gpu: int
    cpu: int
    unknown: int
    shares: Mapping[str, float]
    uncosted: int
    fallbacks: tuple[Fallback, ...]

    @property
    def total(self) -> int:
        return self.neural_engine + self.gpu + self.cpu + self.unknown

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Placement:
        fallbacks = tuple(Fallback(**{**one, "supported": tuple(one["supported"])}) for one in data["fallbacks"])
        return Placement(**{**data, "fallbacks": fallbacks})


def placement(
    package: Path,
    compute_units: ComputeUnits = "ALL",
    function: str | None = None,
    *,
    limits: Limits | None = None,
    loader: str = "parity.run.placement:open_plan",
) -> Placement:
    """Core ML's plan for a package, made in a child process: it compiles, and that can hang or kill."""
    check_target(package, compute_units)
    arguments = {"package": str(package.resolve()), "compute_units": compute_units, "function": function}
    subject = f"{package}, placement on compute units {compute_units}"
    child = Watched(loader, arguments, subject=subject, mends=MENDS, limits=limits or Limits())
    try:
        return Placement.from_json(child.about)
    finally:
        child.close()


def open_plan(package: str, compute_units: ComputeUnits, function: str | None) -> Service:
    """In the child: compile, and count."""
    ct = coremltools_for(stand_in=False)
    from coremltools.models.compute_plan import MLComputePlan

    compiled = ct.models.utils.compile_model(package)
    try:
        plan = MLComputePlan.load_from_path(compiled, ct.ComputeUnit[compute_units])
        return Counted(count(plan, compute_units, function))
    finally:
        shutil.rmtree(compiled, ignore_errors=True)


@dataclass(frozen=True)
class Counted:
    """In the child: has said everything once it is loaded."""

    placement: Placement

    def about(self) -> dict[str, Any]:
        return self.placement.as_json()

    def call(self, verb: str, details: dict[str, Any], arrays: Arrays) -> Message:
        raise ValueError(f"a placement answers nothing, least of all {verb!r}")


def count(plan: Any, compute_units: ComputeUnits, function: str | None = None) -> Placement:
    """Counts a coremltools `MLComputePlan`, nested blocks and all parts of a pipeline included."""
    ops = dict.fromkeys((*_DEVICES.values(), _UNKNOWN), 0)
    costs = dict.fromkeys(ops, 0.0)
    uncosted = 0
    fallbacks = []
    for operation in _operations(plan.model_structure, function):
        device, supported = _device(plan, operation)
        ops[device] += 1
        cost = _cost(plan, operation)
        uncosted += cost is None
        costs[device] += cost or 0.0
        if device != _WANTED[compute_units]:
            name = operation.outputs[0].name if operation.outputs else "(no output)"
            fallbacks.append(Fallback(name, _type(operation), device, supported))
    if not sum(ops.values()):
        raise ValueError("the compute plan has no ops: nothing was placed")
    total = sum(costs.values())
    shares = {device: cost / total for device, cost in costs.items()} if total > 0 else {}
    return Placement(compute_units, **ops, shares=shares, uncosted=uncosted, fallbacks=tuple(fallbacks))


def _operations(structure: Any, function: str | None) -> Iterator[Any]:
    """The ops of a program that do work: constants are data, and are placed nowhere."""
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
        raise ValueError("the compute plan is of no ML program: convert the stage with convert_to='mlprogram'")


def _in_block(block: Any) -> Iterator[Any]:
    for operation in block.operations:
        if not _type(operation).startswith("const"):
            yield operation
        for inner in operation.blocks:
            yield from _in_block(inner)


def _type(operation: Any) -> str:
    """Core ML puts the opset in front: "ios17.conv"."""
    return str(operation.operator_name).rpartition(".")[2]


def _device(plan: Any, operation: Any) -> tuple[str, tuple[str, ...]]:
    usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
    if usage is None:
        return _UNKNOWN, ()
    supported = tuple(_named(device) for device in usage.supported_compute_devices)
    return _named(usage.preferred_compute_device), supported


def _named(device: Any) -> str:
    return _DEVICES.get(type(device).__name__, _UNKNOWN)


def _cost(plan: Any, operation: Any) -> float | None:
    """An op that holds blocks costs what they cost: its own estimate may count their ops twice."""
    if any(True for block in operation.blocks for _ in _in_block(block)):
        return 0.0
    cost = plan.get_estimated_cost_for_mlprogram_operation(operation)
    return None if cost is None else float(cost.weight)
