"""The statement of a rewrite at which it leaves upstream, by the values that both compute on the way to an output.

Upstream may compute a value anywhere, and in any layout.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from parity.blame.graph import PACKS, UNPACKS, NodeFailed, TracedGraph, closure
from parity.blame.module.calls import tensors

LOG = logging.getLogger(__name__)
SAME = 1e-4
"""The largest relative L2 that rounding makes of a value, where a rewrite computes it in another way."""
POINTS = 512
"""The number of places at which values are compared, about."""
FEWEST = 4
"""Fewer values than these are alike by chance."""
MOST_AXES = 5
Sizes = tuple[int, ...]


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
        packed = self.graph.makes(node.reads[0]) if node and node.kind in UNPACKS else None
        if node and packed and packed.kind in PACKS:
            return [packed.reads[node.results.index(name)]]
        return self.graph.before(name)

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
        ours: dict[str, tuple[Sizes, Tensor]] = {}

        def keep(name: str, value: Tensor) -> Tensor:
            if name in self._depths and (found := sketch(value)):
                ours[name] = found[0], next(found[1])
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


def sketch(value: Tensor) -> tuple[Sizes, Iterator[Tensor]] | None:
    """Return the sorted sizes of a tensor of real numbers without axes of size 1, and its values at a few places.

    The values come in all orders of the axes that sort the sizes. None where they are too few, or all the same.
    """
    small = value.detach().squeeze()
    if not small.is_floating_point() or small.numel() < FEWEST or small.dim() > MOST_AXES:
        return None
    sizes = tuple(small.shape)
    most = round(POINTS ** (1 / len(sizes)))
    for axis, size in enumerate(sizes):
        places = torch.linspace(0, size - 1, min(size, most), dtype=torch.float64).round().long()
        small = small.index_select(axis, places)
    values = small.double()
    if not bool(values.isfinite().all()) or bool((values == values.reshape(-1)[0]).all()):
        return None
    orders = itertools.permutations(range(len(sizes)))
    sorting = (order for order in orders if [sizes[axis] for axis in order] == sorted(sizes))
    return tuple(sorted(sizes)), (values.permute(order).reshape(-1) for order in sorting)


def distances(ours: Mapping[str, tuple[Sizes, Tensor]], run: Callable[[], object]) -> dict[str, float]:
    """Return the relative L2 of each of our values from the nearest value that upstream computes.

    Args:
        ours: Sizes and values of the rewrite's tensors, by name.
        run: Runs upstream.
    """
    groups: dict[Sizes, list[str]] = {}
    for name, (sizes, _) in ours.items():
        groups.setdefault(sizes, []).append(name)
    known = {sizes: torch.stack([ours[name][1] for name in names]) for sizes, names in groups.items()}
    least = {sizes: torch.full((len(rows),), math.inf, dtype=torch.float64) for sizes, rows in known.items()}

    def heard(value: Tensor) -> None:
        sizes = tuple(sorted(size for size in value.shape if size != 1))
        if sizes not in known or not (found := sketch(value)):
            return
        rows = known[sizes]
        for layout in found[1]:
            apart = (rows - layout).norm(dim=1) / rows.norm(dim=1)
            least[sizes] = torch.minimum(least[sizes], apart)

    class Heard(TorchDispatchMode):  # type: ignore[no-untyped-call]
        """Hears every tensor that torch computes, also within scripted models."""

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = function(*args, **(kwargs or {}))
            for value in tensors(result):
                heard(value)
            return result

    with Heard():  # type: ignore[no-untyped-call]
        run()
    return {name: float(least[sizes][place]) for sizes, names in groups.items() for place, name in enumerate(names)}
