"""The statement of a rewrite at which it leaves upstream, by the values that both compute on the way to an output."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cached_property

from torch import Tensor, nn

from parity.blame.module.values import Sketch, distances, sketch
from parity.blame.package.names import closure
from parity.blame.package.tracing import PACKS, UNPACKS, NodeFailed, TracedGraph

LOG = logging.getLogger(__name__)
SAME = 1e-4
"""The largest relative L2 that rounding makes of a value, where a rewrite computes it in another way."""


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
        behind = closure([self.result], self._before)
        found = dict.fromkeys(self.graph.inputs, 0)
        for name in (name for node in self.graph.nodes for name in node.results):
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
        return [packed.reads[node.results.index(name)]] if packed and packed.kind in PACKS else node.reads

    def inside(self, part: nn.Module) -> set[str]:
        """Return the values that a submodule computes on the way to the output."""
        return self._inside.get(f"__module.{self._names[part]}", set())

    @cached_property
    def _inside(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for node in self.graph.nodes:
            for scope in node.raw.scopeName().split("/"):
                found.setdefault(scope, set()).update(self._depths.keys() & node.results)
        return found

    def last(self, parts: Sequence[nn.Module]) -> nn.Module | None:
        """Return the submodule that most of the others lead to: one that sees only a side input explains nothing."""
        inside = {part: self.inside(part) for part in parts}
        behind = {part: closure(own, self._before) for part, own in inside.items()}
        led_by = {part: sum(not own.isdisjoint(behind[part]) for own in inside.values()) for part in inside}
        return max(reversed(inside), key=led_by.__getitem__, default=None)

    @property
    def end(self) -> str:
        """The statement that makes the output."""
        return self._place(self.result)

    def leaves(self, bar: float, run: Callable[[], object]) -> tuple[str, str] | None:
        """Return the first statement whose value upstream does not compute, though it computes what that is made of.

        After the statement comes a sentence about it. Where several branches leave, it is the one that goes along with
        upstream the longest. None if the traced module can't be run op by op.

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
            return self.end, "upstream computes the same values, but gives others here"
        strange = {*ours, self.result} - agreed
        telling = {*ours, self.result, *self.graph.inputs}
        origins = {name: self._origins(name, telling) for name in strange}
        left = {name: found for name, found in origins.items() if found.isdisjoint(strange)}
        order = {name: index for index, node in enumerate(self.graph.nodes) for name in node.results}
        latest = {name: max(map(self._depths.__getitem__, found), default=0) for name, found in left.items()}
        name = max(left, key=lambda name: (latest[name], -order[name]))
        last = max(left[name] & agreed, key=lambda name: (self._depths[name], order.get(name, -1)), default="")
        place = self._place(name)
        if not last:
            return place, "upstream computes no such value of the inputs"
        said = f"upstream computes the same values up to {self._place(last) or last}"
        return place, said if place == self.end else f"{said}; the output is made at {self.end}"

    def _origins(self, name: str, telling: set[str]) -> set[str]:
        """Return the values on the way that one is made of, of those that tell something, through all others."""

        def before(name: str) -> list[str]:
            return [read for read in self._before(name) if read in self._depths]

        return closure(before(name), lambda read: () if read in telling else before(read)) & telling

    def _place(self, name: str) -> str:
        """Return the statement that makes a value; one that is only unpacked has that of what it is unpacked from."""
        node = self.graph.makes(name)
        while node and not node.place:
            name = next((read for read in self._before(name) if read in self._depths), "")
            node = self.graph.makes(name)
        return node.place if node else ""
