"""A package that is wrong in fp32 too: the first op that makes of the same operands something else than the module.

The package runs beside the traced module. At every value that both name, the module goes on with the package's value.
So nothing that went wrong before is in a comparison, and an op that makes much of a small error is not taken for one
that errs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from milrun import ModelError
from milrun.program import Operation
from parity.blame.graph import Node, closure, matching
from parity.blame.likeness import relative_l2
from parity.blame.package.program import Program
from parity.blame.package.runs import Divergence, Runs
from parity.blame.package.weights import NAMED, lost, of_parameters, said_of_numbers, traits

ROUNDING = 2e-5
"""A relative L2 that the order of a summation may make."""
STANDS_OUT = 1 / 3
"""The share of the largest error from which an op counts as much to blame: the first such op is named."""
COUNTS = 0.02
"""The share of the failure under which no single op explains it, and the share of an error that must live on."""
TRIES = 5
IDLE = ("dropout", "contiguous", "detach", "alias", "clone", "size", "zeros")
"""The module's ops that compute no number."""
MOVES = ("transpose", "permute", "reshape", "view", "flatten", "squeeze", "unsqueeze", "expand", "t")
"""The module's ops that only lay numbers out anew. The line of one tells nothing of how its numbers were made."""
Visit = Callable[[str, Tensor, Tensor], None]
"""Gets a value's name in the package, the value as it should be, and as the package has it."""


@dataclass(frozen=True)
class Steps:
    """The errors that ops made by themselves, by the package's names; and the values of those to look at."""

    errors: Mapping[str, float]
    seen: Mapping[str, tuple[Tensor, Tensor]]
    stopped: str
    """The package's own error, if it could not be run to its end."""


@dataclass(frozen=True)
class Search:
    """One search: the module's graph and the package's, on the same inputs."""

    runs: Runs
    matched: Mapping[str, str]
    """By the name in the module's graph, the package's name of a value."""

    @cached_property
    def leading(self) -> set[str]:
        """Values that the failing output is computed from, by the module's names."""
        return closure([self.runs.result], self.runs.graph.before)

    def steps(self, without: Collection[str] = (), look_at: str = "") -> Steps:
        """Run both in fp32. The value to look at is compared and returned, and the module goes on with its own."""
        errors: dict[str, float] = {}
        seen: dict[str, tuple[Tensor, Tensor]] = {}

        def settle(name: str, value: Tensor, actual: Tensor) -> Tensor:
            if actual.shape != value.shape:
                if actual.numel() != value.numel():
                    errors[name] = math.inf
                    seen[name] = value.clone(), actual
                return value  # Of another shape and as many values: a layout that the converter changed.
            errors[name] = relative_l2(value, actual)
            if name == look_at:
                seen[name] = value.clone(), actual.clone()
                return value
            return actual.to(value.dtype, copy=self.runs.graph.mutates)

        matched = {name: theirs for name, theirs in self.matched.items() if theirs not in without}
        return Steps(errors, seen, _run(self.runs, "fp32", matched, settle))

    def counts_otherwise(self, errors: Mapping[str, float]) -> bool:
        """Return whether numbers name other values in the package: most disagree, or one is of another size.

        Then it comes from another version of the module.
        """
        disagree = sum(error > 0.1 for error in errors.values())
        sizes = any(errors.get(theirs) == math.inf for name, theirs in self.matched.items() if name.isdigit())
        return sizes or disagree > len(errors) / 2

    def strangers(self, errors: Mapping[str, float]) -> frozenset[str]:
        """Return values that only share a name: they disagree, and all that is computed from them agrees.

        It goes from the last to the first, so that two in a row are both found.
        """
        apart = dict.fromkeys(errors, math.inf)  # of the package's values from the module's, each computed on its own

        def visit(name: str, reference: Tensor, candidate: Tensor) -> None:
            apart[name] = relative_l2(reference, candidate)

        beside(self.runs, "fp32", self.matched, visit)
        kept = dict(errors)
        differing = [name for name in errors if apart[name] > ROUNDING]
        for name in sorted(differing, key=self.runs.program.position, reverse=True):
            room = COUNTS * min(apart[name], 1.0)
            heirs = self.heirs(name, kept)
            if heirs and all(apart[heir] <= room for heir in heirs):
                del kept[name]
        return frozenset(errors.keys() - kept.keys())

    def first_of(self, errors: Mapping[str, float]) -> str | None:
        """Return the first value whose own error is about as large as any."""
        ours = {theirs for name, theirs in self.matched.items() if name in self.leading}
        own = {name: error for name, error in errors.items() if name in ours and error > ROUNDING}
        if not own:
            return None
        worst = max(own.values())
        large = [name for name, error in own.items() if error >= STANDS_OUT * worst]
        return min(large, key=self.runs.program.position)

    def heirs(self, name: str, errors: Mapping[str, float]) -> list[str]:
        """Return the values compared next after a value, on the way to the failing output."""
        names = {theirs: ours for ours, theirs in self.matched.items()}
        reached, found = {names[name]}, []
        for node in self.runs.graph.nodes:
            if not reached.intersection(node.reads):
                continue
            for value in node.results:
                theirs = self.matched.get(value)
                if theirs is None or theirs not in errors:
                    reached.add(value)
                elif value in self.leading:
                    found.append(theirs)
        return found


def matched_values(runs: Runs, numbered: bool = True) -> dict[str, str]:
    """Return the values to compare, by the module's names. Outputs have the names that the stage declares.

    Names that are only a number can be left out: another version of the module gives them to other values.
    """
    graph, program, outputs = runs.graph, runs.program, list(runs.stage.outputs)
    names = [name for name in graph.values if numbered or not name.isdigit()]
    found = {name: theirs for name, theirs in matching(names, program.names).items() if theirs not in outputs}
    return found | {
        name: output for name, output in zip(graph.outputs, outputs, strict=True) if program.position(output)
    }


def find(runs: Runs) -> tuple[Divergence | None, str]:
    """Return the divergence, and the package's own error if it could not be run."""
    search = Search(runs, matched_values(runs))
    steps = search.steps()
    if search.counts_otherwise(steps.errors):
        named = matched_values(runs, numbered=False)
        # Of names that are alike but for a number, as `input.3`, one more or less makes all others mean something else.
        alike = {name: re.sub(r"\.\d+$", "", name) for name in named}
        shifted = {alike[name] for name, theirs in named.items() if steps.errors.get(theirs) == math.inf}
        outputs = runs.stage.outputs
        kept = {name: theirs for name, theirs in named.items() if theirs in outputs or alike[name] not in shifted}
        search = Search(runs, kept)
        steps = search.steps()
    without = search.strangers(steps.errors)
    errors = search.steps(without).errors if without else steps.errors
    for _ in range(TRIES):
        name = search.first_of(errors)
        if name is None:
            break
        again = search.steps(without, name)
        heirs = search.heirs(name, errors)
        if not heirs or any(_inherits(errors[name], errors[heir], again.errors.get(heir, 0.0)) for heir in heirs):
            return _divergence(search, name, errors, again), steps.stopped
        # Nothing that is computed from it cares: it is another value of the same name, or one that does not matter.
        without |= {name}
        errors = {value: error for value, error in again.errors.items() if value != name}
    return None, steps.stopped


def _inherits(error: float, before: float, after: float) -> bool:
    """Return whether a value gets worse when the module goes on with its own value before it, not the package's."""
    if not math.isfinite(after):
        return math.isfinite(before)
    return after**2 - before**2 > (COUNTS * min(error, 1.0)) ** 2


def _divergence(search: Search, name: str, errors: Mapping[str, float], again: Steps) -> Divergence:
    graph, program = search.runs.graph, search.runs.program
    ours = next(ours for ours, theirs in search.matched.items() if theirs == name)
    node, chain = graph.makes(ours), _spelled(program, name, errors)
    reference, candidate = again.seen.get(name, (None, None))
    kinds, types = _since(search, ours), [op.type for op in chain]
    said: list[str] = []
    if len(types) > 1 or len(kinds) > 1:
        what = f"torch's {kinds[0]} became" if len(kinds) == 1 else f"since values that agree, {_brief(kinds)} became"
        said.append(f"{what} {len(types)} ops here ({_brief(types)})" if len(types) > 1 else f"{what} one {types[0]}")
    weights = lost(of_parameters(program, graph, chain))
    said += [weight.said() for weight in weights[:NAMED]]
    if node and len(chain) == 1:
        said += said_of_numbers(program, graph, chain[0], node)
    if errors[name] < COUNTS * min(search.runs.in_fp32, 1.0):
        said.append(f"no single op explains the runs: this is the first of the largest own errors, {errors[name]:.2g}")
    twice = any("x" in op.inputs and op.inputs["x"] == op.inputs.get("y") for op in chain)
    return Divergence(
        value=name,
        reference=reference,
        candidate=candidate,
        nodes=kinds,
        source=_computing(search, node).place if node else "",
        spelled=types,
        behind=program.types_behind(name),
        own=errors[name],
        said=tuple(said),
        traits=traits(weights) | ({"same operands"} if twice else set()),
    )


def _spelled(program: Program, name: str, errors: Mapping[str, float]) -> list[Operation]:
    """Return the ops that make a value out of values that were compared, in order."""
    found = closure([name], lambda value: set(program.before(value)) - errors.keys())
    return [program.operations[place - 1] for place in sorted({*map(program.position, found)} - {0})]


def _since(search: Search, name: str) -> list[str]:
    """Return the module's ops that make a value out of values that were compared, in order."""
    graph = search.runs.graph
    found = closure([name], lambda value: set(graph.before(value)) - search.matched.keys())
    nodes = [node for node in graph.nodes if not found.isdisjoint(node.results)]
    return [node.op for node in nodes if node.kind.startswith("aten::") and node.op not in IDLE]


def _computing(search: Search, node: Node) -> Node:
    """Return the node that computed the numbers of a node: itself, unless it only moves those of one before it."""
    while node.op in MOVES and node.reads and node.reads[0] not in search.matched:
        before = search.runs.graph.makes(node.reads[0])
        if before is None or not before.kind.startswith("aten::"):
            break
        node = before
    return node


def _brief(types: Sequence[str]) -> str:
    return ", ".join(types) if len(types) <= 8 else f"{', '.join(types[:3])}, …, {', '.join(types[-3:])}"


def beside(runs: Runs, numerics: str, matched: Mapping[str, str], visit: Visit) -> None:
    """Run both, each on its own values, so that errors are seen as they grow."""

    def settle(name: str, value: Tensor, actual: Tensor) -> Tensor:
        if actual.shape == value.shape:
            visit(name, value, actual)
        return value

    _run(runs, numerics, matched, settle)


def _run(runs: Runs, numerics: str, matched: Mapping[str, str], settle: Callable[[str, Tensor, Tensor], Tensor]) -> str:
    """Run both, settle each value that both name, and return the package's own error, if it made one.

    The package is asked for values in about the order in which it computes them.
    """
    wanted, ready, stopped = set(matched.values()), dict[str, Tensor](), list[str]()

    def shown() -> Iterator[tuple[str, Tensor]]:
        try:
            for tap in runs.model(numerics).trace(runs.rounded):
                if tap.name in wanted and isinstance(tap.tensor, Tensor):
                    yield tap.name, tap.tensor
        except ModelError as error:
            stopped.append(str(error))

    taps = shown()

    def settled(name: str, value: Tensor) -> Tensor:
        theirs = matched.get(name, "")
        while theirs and theirs not in ready and (tap := next(taps, None)):
            ready.update([tap])
        actual = ready.pop(theirs, None)
        return value if actual is None else settle(theirs, value, actual)

    runs.graph.run(runs.tensors, settled)
    return "".join(stopped)
