"""The statement of a rewrite at which it leaves upstream, by the values that both compute on the way to an output."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor, nn

from parity.blame.module.values import Sketch, distances, sketch
from parity.blame.package.tracing import Node, NodeFailed, TracedGraph

LOG = logging.getLogger(__name__)
SAME = 1e-4
"""The largest relative L2 that rounding makes of a value, where a rewrite computes it in another way."""
PACKS, UNPACKS = ("prim::TupleConstruct", "prim::ListConstruct"), ("prim::TupleUnpack", "prim::ListUnpack")


@dataclass(frozen=True)
class Statement:
    """A place in the source, and a sentence about it."""

    source: str
    said: str


class Path:
    """The way of a rewrite's values to one of its outputs."""

    def __init__(self, module: nn.Module, inputs: Sequence[Tensor], output: int) -> None:
        self._names = {part: name for name, part in module.named_modules()}
        self._inputs = inputs
        self.graph = TracedGraph(module, inputs)
        self.result = self.graph.outputs[output]

    @cached_property
    def _depths(self) -> dict[str, int]:
        """The number of ops between the inputs and each value on the way; values of no input have none."""
        behind = self._behind([self.result])
        found = dict.fromkeys(self.graph.inputs, 0)
        for name in (name for node in self.graph.nodes for name in _made(node)):
            before = [found[read] for read in self._before(name) if read in found]
            if before:
                found[name] = max(before) + 1
        return {name: depth for name, depth in found.items() if name in behind}

    def _before(self, name: str) -> Sequence[str]:
        """Return the values that one is made of; of one that is unpacked, the one that was packed."""
        node = self.graph.makes(name)
        if node is None:
            return ()
        packed = self.graph.makes(node.reads[0]) if node.kind in UNPACKS else None
        return [packed.reads[_made(node).index(name)]] if packed and packed.kind in PACKS else node.reads

    def _behind(self, names: Iterable[str]) -> set[str]:
        """Return values, and all that they are made of."""
        found: set[str] = set()
        waiting = list(names)
        while waiting:
            if (name := waiting.pop()) not in found:
                found.add(name)
                waiting += self._before(name)
        return found

    def inside(self, part: nn.Module) -> set[str]:
        """Return the values that a submodule computes on the way to the output."""
        return self._inside.get(f"__module.{self._names[part]}", set())

    @cached_property
    def _inside(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for node in self.graph.nodes:
            for scope in node.raw.scopeName().split("/"):
                found.setdefault(scope, set()).update(self._depths.keys() & _made(node))
        return found

    def last(self, parts: Sequence[nn.Module]) -> nn.Module | None:
        """Return the submodule that most of the others lead to: one that sees only a side input explains nothing."""
        inside = {part: self.inside(part) for part in parts}
        behind = {part: self._behind(own) for part, own in inside.items()}
        led_by = {part: sum(not own.isdisjoint(behind[part]) for own in inside.values()) for part in inside}
        return max(reversed(inside), key=led_by.__getitem__, default=None)

    @property
    def end(self) -> str:
        """The statement that makes the output."""
        return self._place(self.result)

    def leaves(self, bar: float, run: Callable[[], object]) -> Statement | None:
        """Return the first statement whose value upstream does not compute, though it computes what that is made of.

        Where several branches leave, it is the one that goes along with upstream the longest. None if the traced module
        can't be run op by op.

        Args:
            bar: The relative L2 up to which values count as the same, if it is less than rounding makes.
            run: Runs upstream.
        """
        ours: dict[str, Sketch] = {}

        def keep(name: str, value: Tensor) -> Tensor:
            if name in self._depths and (found := sketch(value)):
                ours[name] = found
            return value

        try:
            self.graph.run(self._inputs, keep)
        except NodeFailed as reason:
            LOG.warning("The traced module can't be run op by op", exc_info=reason)
            return None
        agreed = {name for name, distance in distances(ours, run).items() if distance <= min(bar, SAME)}
        if self.result in agreed:
            return Statement(self.end, "upstream computes the same values, but gives others here")
        strange = {*ours, self.result} - agreed
        origins = {name: self._origins(name, agreed, strange) for name in strange}
        left = {name: found for name, found in origins.items() if found.isdisjoint(strange)}
        order = {name: index for index, node in enumerate(self.graph.nodes) for name in _made(node)}
        name, found = max(left.items(), key=lambda one: (self._latest(one[1]), -order[one[0]]))
        last = max(found & agreed, key=self._depths.__getitem__, default="")
        place = self._place(name)
        if not last:
            return Statement(place, "upstream computes no such value of the inputs")
        said = f"upstream computes the same values up to {self._place(last) or last}"
        return Statement(place, said if place == self.end else f"{said}; the output is made at {self.end}")

    def _origins(self, name: str, agreed: Collection[str], strange: Collection[str]) -> set[str]:
        """Return the values that one is made of, through values that say nothing: agreed, strange, or inputs."""
        found: set[str] = set()
        waiting = list(self._before(name))
        seen: set[str] = set()
        while waiting:
            read = waiting.pop()
            if read in seen or read not in self._depths:
                continue
            seen.add(read)
            if read in agreed or read in strange or read in self.graph.inputs:
                found.add(read)
            else:
                waiting += self._before(read)
        return found

    def _latest(self, names: Collection[str]) -> int:
        return max((self._depths[name] for name in names), default=0)

    def _place(self, name: str) -> str:
        """Return the statement that makes a value; one that is only unpacked has that of what it is unpacked from."""
        node = self.graph.makes(name)
        while node and not node.place:
            name = next((read for read in self._before(name) if read in self._depths), "")
            node = self.graph.makes(name)
        return node.place if node else ""


def _made(node: Node) -> list[str]:
    return [value.debugName() for value in node.raw.outputs()]
