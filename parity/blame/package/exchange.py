"""A package beside an uncompressed conversion of its module: whether its weights alone make the error, and which."""

from __future__ import annotations

import math

from milrun.program import Operation
from parity.blame.package.divergence import Divergence
from parity.blame.package.failure import Failure
from parity.blame.package.tracing import Node
from parity.blame.package.weights import NAMED, lost, of_names, of_packages, traits

ENOUGH = 0.5
"""The share of the error that may be left where other weights are said to explain it."""


def compressed(failure: Failure) -> bool:
    """Return whether any weight of the package is stored in another form than its own."""
    return any(operation.type.startswith("constexpr_") for operation in failure.model("fp32").function.body.walk())


def find(failure: Failure) -> Divergence | None:
    """Return the op of the worst weight, if the same graph with the module's own weights is right."""
    right = failure.distance(failure.reference, failure.uncompressed_gives)
    if not math.isfinite(right) or right > ENOUGH * failure.error:
        return None
    packages = failure.program, failure.uncompressed_program
    found = of_packages(*packages, failure.graph)
    if found is None:  # other graphs: the compressed weights have to make the error in the module as well
        found = of_names(*packages, failure.graph)
        gives = failure.module_gives_with({weight.name: weight.value for weight in found})
        if failure.distance(failure.candidate, gives) > ENOUGH * failure.error:
            return None
    if not found or not (worst := lost(found)):
        return None
    others = [weight for weight in found if weight.own.dim() > 1]
    said = [
        f"the same graph with the module's own weights is {right:.2g} from the golden, this one {failure.error:.2g}",
        f"of {len(found)} weights {len(worst)} differ, these most",
        *(weight.said(others) for weight in worst[:NAMED]),
    ]
    first = worst[0]
    value = first.operation.outputs[0][0]
    node = _alike(failure, first.operation) or failure.node_near(value)
    return Divergence(
        value=value,
        operation=first.operation,
        reference=first.own,
        candidate=first.value.to(first.own.dtype),
        nodes=(node.op,) if node else (),
        source=node.place if node else "",
        own=first.error,
        said=tuple(said),
        traits=traits(worst),
    )


def _alike(failure: Failure, operation: Operation) -> Node | None:
    """Return the module's node of the same type and turn, if both have as many of that type."""
    nodes = [node for node in failure.graph.nodes if node.op == operation.type]
    same = [other for other in failure.program.operations if other.type == operation.type]
    return nodes[same.index(operation)] if len(nodes) == len(same) else None
