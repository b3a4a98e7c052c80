"""Constants of a package beside those that it should have: the module's parameters, or an uncompressed conversion.

Beside the latter it shows whether its weights alone make the error, and which.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from milrun.program import Operation
from parity.blame.graph import Node, TracedGraph, differ, plain, spelled
from parity.blame.likeness import likeness, relative_l2
from parity.blame.package.program import Program, bits
from parity.blame.package.runs import Divergence, Runs, load

ROUGH = ("noise", "quantization", "clipped", "local", "other", "equal", "constant", "zero")
"""Kinds of error that compression makes of weights."""
ROUNDED = 1e-3
"""A relative error far above that of rounding to half precision."""
ENOUGH = 0.5
"""The share of a failure that may be left where other weights explain the output."""
NAMED = 3
SAME = 0.1
"""The share of a weight's error that may be left where other weights explain it."""
GATES = {"lstm": 4, "gru": 3}
_SUFFIX = re.compile("_(quantized|palettized|sparsified)$")


@dataclass(frozen=True)
class Weight:
    """A constant of an op, as it should be and as the package has it. `bits` is 0 for a weight that is stored whole."""

    name: str
    operation: Operation
    own: Tensor
    value: Tensor
    bits: int

    @cached_property
    def error(self) -> float:
        return relative_l2(self.own, self.value)

    @cached_property
    def looks(self) -> str:
        """The kind of error of the weights, unless their compression explains it."""
        if self.error <= ROUNDED or not self.own.numel():
            return ""
        if order := self._order_of_gates():
            return order
        found = likeness(self.own.detach().float().numpy(), self.value.float().numpy())
        return "" if self.bits and found.kind in ROUGH else str(found)

    def _order_of_gates(self) -> str:
        count = GATES.get(self.operation.type, 0)
        if not count or self.own.dim() not in (1, 2) or self.own.shape[0] % count:
            return ""
        gates = list(self.own.chunk(count))
        for order in itertools.permutations(range(count)):
            if list(order) != sorted(order) and self.holds(torch.cat([gates[place] for place in order])):
                return f"permutation of its {count} gates along axis 0: {', '.join(map(str, order))}"
        return ""

    def holds(self, other: Tensor) -> bool:
        """Return whether the values are next to those of another weight."""
        return self.value.shape == other.shape and relative_l2(other, self.value) <= SAME * self.error

    def said(self, others: Iterable[Weight] = ()) -> str:
        """Return a sentence; where the values are those of one of the `others`, it says so."""
        stored = f"{self.bits} bits, {len(torch.unique(self.value))} distinct values, " if self.bits else ""
        sentence = f"`{self.name}`: {stored}relative L2 {self.error:.2g}"
        if source := next((other.name for other in others if other is not self and self.holds(other.own)), ""):
            return f"{sentence}, it holds the values of `{source}`"
        looks = self.looks
        return f"{sentence}, they are not the module's: {looks}" if looks else sentence


def find(runs: Runs) -> Divergence | None:
    """Return the op of the worst weight, if the same graph with the module's own weights is right."""
    package, error = runs.uncompressed(), runs.failure.error
    right = runs.distance(runs.failure.reference, load(package, runs.numerics).predict(runs.rounded))
    if not math.isfinite(right) or right > ENOUGH * error:
        return None
    packages = runs.program, Program(load(package, "fp32"))
    found = _of_packages(*packages, runs.graph)
    if found is None:  # other graphs: the compressed weights have to make the error in the module as well
        found = _of_names(*packages, runs.graph)
        gives = runs.module_gives_with({weight.name: weight.value for weight in found})
        if runs.distance(runs.failure.candidate, gives) > ENOUGH * error:
            return None
    if not found or not (worst := lost(found)):
        return None
    others = [weight for weight in found if weight.own.dim() > 1]
    said = [
        f"the same graph with the module's own weights is {right:.2g} from the golden, this one {error:.2g}",
        f"of {len(found)} weights {len(worst)} differ, these most",
        *(weight.said(others) for weight in worst[:NAMED]),
    ]
    first = worst[0]
    value = first.operation.outputs[0][0]
    # The module's node of the same type and turn, if both have as many of that type.
    nodes = [node for node in runs.graph.nodes if node.op == first.operation.type]
    same = [other for other in runs.program.operations if other.type == first.operation.type]
    node = nodes[same.index(first.operation)] if len(nodes) == len(same) else runs.node_near(value)
    return Divergence(
        value=value,
        reference=first.own,
        candidate=first.value.to(first.own.dtype),
        nodes=(node.op,) if node else (),
        source=node.place if node else "",
        own=first.error,
        said=tuple(said),
        traits=traits(worst),
    )


def lost(found: Iterable[Weight]) -> list[Weight]:
    """Return the weights that differ by more than rounding; those that are other weights first, then the worst."""
    differ = [weight for weight in found if weight.error > ROUNDED]
    return sorted(differ, key=lambda weight: (not weight.looks, -weight.error))


def traits(found: Sequence[Weight]) -> frozenset[str]:
    """Return the traits that hazards know."""
    if any(weight.looks for weight in found):
        return frozenset({"other weights"})
    return frozenset({"palettized"}) if any(weight.bits for weight in found) else frozenset()


def of_parameters(program: Program, graph: TracedGraph, chain: Sequence[Operation]) -> Iterator[Weight]:
    """Yield the constants of some ops beside the parameters that they come from, as far as their names tell."""
    for operation in chain:
        for name, maker in program.constants(operation).items():
            if (parameter := _parameter(graph, name)) and (value := program.dense(name)) is not None:
                own = graph.parameters[parameter]
                if value.shape == own.shape:
                    yield Weight(parameter, operation, own, value, bits(maker, program))


def _of_packages(program: Program, uncompressed: Program, graph: TracedGraph) -> list[Weight] | None:
    """Return the constants of a package beside those of an uncompressed one; None if their graphs differ otherwise."""
    found: list[Weight] = []
    names: dict[str, str] = {}
    if len(program.operations) != len(uncompressed.operations):
        return None
    for ours, theirs in zip(program.operations, uncompressed.operations, strict=True):
        if _form(ours) != _form(theirs):
            return None
        names |= {one: other for (one, _), (other, _) in zip(ours.outputs, theirs.outputs, strict=True)}
        makers = program.constants(ours)
        for argument in ours.inputs:
            for one, other in zip(ours.inputs[argument], theirs.inputs[argument], strict=True):
                value, own = program.content(one), uncompressed.content(other)
                if isinstance(one, str) and (pair := _fitting(value, own)):
                    name = _parameter(graph, one) or f"{argument} of {ours.outputs[0][0]}"
                    found.append(Weight(name, ours, *pair, bits(makers[one], program)))
                elif differ(value, own) or (value is None and names.get(str(one), one) != other):
                    return None
    return found


def _form(operation: Operation) -> tuple[str, dict[str, int], int]:
    """Return the type of an op, the number of values of each argument, and the number of outputs."""
    return operation.type, {name: len(values) for name, values in operation.inputs.items()}, len(operation.outputs)


def _of_names(program: Program, uncompressed: Program, graph: TracedGraph) -> list[Weight]:
    """Return the compressed constants of a package beside those of the same name in an uncompressed one.

    Reading a package to compress it runs the converter's passes again, after which the graphs may differ a little.
    """
    theirs = {plain(name): name for operation in uncompressed.operations for name in uncompressed.constants(operation)}
    found = []
    for operation in program.operations:
        for name, maker in program.constants(operation).items():
            other, stored = theirs.get(plain(_SUFFIX.sub("", name)), ""), bits(maker, program)
            own = uncompressed.dense(other) if other else None
            if stored and (pair := _fitting(program.dense(name), own)):
                found.append(Weight(_parameter(graph, name) or other, operation, *pair, stored))
    return found


def _fitting(value: Any, own: Any) -> tuple[Tensor, Tensor] | None:
    """Return a weight as it should be and as the package has it, if both are tensors of numbers of one shape."""
    both = isinstance(value, Tensor) and isinstance(own, Tensor)
    fit = both and own.is_floating_point() and own.numel() > 1 and value.shape == own.shape
    return (own, value) if fit else None


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
    parameters: Mapping[str, Any] = graph.parameters
    found = [
        parameter
        for parameter, value in parameters.items()
        if isinstance(value, Tensor) and (name == spelled(parameter) or name.startswith(f"{spelled(parameter)}_"))
    ]
    return max(found, key=len) if found else None
