"""Constants of an op beside the parameters of the module that they come from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from milrun.program import Operation
from parity.blame.distance import relative_l2
from parity.blame.likeness import likeness
from parity.blame.package.names import plain, spelled
from parity.blame.package.program import Program, levels
from parity.blame.package.tracing import Node, TracedGraph

ROUGH = ("noise", "quantization", "clipped", "local", "other", "equal")
"""Kinds of error that clustering and rounding make of weights."""
ROUNDED = 1e-3
"""A relative error far above that of rounding to half precision."""


def said_of_weights(program: Program, graph: TracedGraph, chain: Sequence[Operation]) -> tuple[list[str], set[str]]:
    """Return a sentence for each parameter that the package holds otherwise, and the traits that hazards know."""
    said: list[str] = []
    traits: set[str] = set()
    for operation in chain:
        for name, maker in program.constants(operation).items():
            parameter = _parameter(graph, name)
            count = levels(maker, program)
            if parameter is None:
                # The converter made it of parameters, as it does with those of an LSTM.
                if count:
                    said.append(f"`{name}` {_palettized(count)}")
                    traits.add("palettized")
                continue
            own = graph.parameters[parameter]
            value = program.dense(name)
            error = relative_l2(own, value) if value is not None and value.shape == own.shape else None
            size = "" if error is None else f", relative L2 {error:.2g}"
            looks = _looks(own, value) if error and value is not None and error > ROUNDED else ""
            if count:
                more = f", and they are not the module's: {looks}" if looks else ""
                said.append(f"`{parameter}` {_palettized(count)}{size}{more}")
                traits.add("other weights" if looks else "palettized")
            elif error is not None and error > ROUNDED:
                said.append(f"`{parameter}` differs from the module's: {looks or 'other'}{size}")
                traits.add("other weights")
    return said, traits


def _palettized(count: int) -> str:
    return f"is palettized to {count} levels: {(count - 1).bit_length()} bits"


def _looks(own: Tensor, value: Tensor) -> str:
    """Return what sets weights apart, unless clustering and rounding explain it."""
    found = likeness(own.detach().numpy(), value.float().numpy())
    return "" if found.kind in ROUGH else str(found)


def said_of_numbers(program: Program, graph: TracedGraph, operation: Operation, node: Node) -> list[str]:
    """Return a sentence if an op computes with another number than the module."""
    theirs = set(filter(None, (_number(program.dense(name)) for name in program.constants(operation))))
    made = [found for read in node.reads if (found := graph.makes(read)) and found.kind == "prim::Constant"]
    ours = set(filter(None, (_number(constant.raw.output().toIValue()) for constant in made)))
    if len(ours) == len(theirs) == 1 and not math.isclose(*ours, *theirs, rel_tol=ROUNDED):
        return [f"it computes with {theirs.pop():.6g} where the module has {ours.pop():.6g}"]
    return []


def _number(value: Any) -> float | None:
    """Return a float that is not 0; whole numbers are axes and sizes too."""
    if isinstance(value, Tensor) and value.numel() == 1 and value.is_floating_point():
        return float(value)
    return value if isinstance(value, float) else None


def _parameter(graph: TracedGraph, constant: str) -> str | None:
    """Return the parameter whose name a constant's begins with: the converter's passes only append to it."""
    name = plain(constant)
    found = [
        parameter
        for parameter, value in graph.parameters.items()
        if isinstance(value, Tensor) and (name == spelled(parameter) or name.startswith(f"{spelled(parameter)}_"))
    ]
    return max(found, key=len) if found else None
