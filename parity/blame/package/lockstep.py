"""The package in fp32 beside the traced module, each op on the same operands: an error is then the op's own.

At every value that both name, the module goes on with the package's value. So nothing that went wrong before is in a
comparison, and an op that makes much of a small error is not taken for one that errs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from milrun import Model, ModelError
from milrun.plan import Tap
from parity.blame.distance import relative_l2
from parity.blame.package.tracing import TracedGraph
from parity.declarations import Arrays

Visit = Callable[[str, Tensor, Tensor], None]
"""Gets a value's name in the package, the value as it should be, and as the package has it."""


@dataclass(frozen=True)
class Steps:
    """The errors that ops made by themselves, by the package's names; and the values of those to look at."""

    errors: Mapping[str, float]
    seen: Mapping[str, tuple[Tensor, Tensor]]
    stopped: str = ""
    """The package's own error, if it could not be run to its end."""


def compare(
    graph: TracedGraph,
    model: Model,
    inputs: Sequence[Tensor],
    arrays: Arrays,
    matched: Mapping[str, str],
    look_at: frozenset[str] = frozenset(),
) -> Steps:
    """Run both. Values in `look_at` are compared and returned, and the module goes on with its own."""
    package = _Package(model, arrays, set(matched.values()))
    errors: dict[str, float] = {}
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def settle(name: str, value: Tensor) -> Tensor:
        theirs = matched.get(name)
        actual = package.value(theirs) if theirs else None
        if theirs is None or actual is None:
            return value
        if actual.shape != value.shape:
            if actual.numel() != value.numel():
                errors[theirs] = math.inf
                seen[theirs] = value.clone(), actual
            return value  # Of another shape and as many values: a layout that the converter changed.
        errors[theirs] = relative_l2(value, actual)
        if theirs in look_at:
            seen[theirs] = value.clone(), actual.clone()
            return value
        return actual.to(value.dtype, copy=graph.mutates)

    graph.run(inputs, settle)
    return Steps(errors, seen, package.stopped)


def beside(
    graph: TracedGraph,
    model: Model,
    inputs: Sequence[Tensor],
    arrays: Arrays,
    matched: Mapping[str, str],
    visit: Visit,
) -> None:
    """Run both, each on its own values, so that errors are seen as they grow."""
    package = _Package(model, arrays, set(matched.values()))

    def settle(name: str, value: Tensor) -> Tensor:
        theirs = matched.get(name)
        actual = package.value(theirs) if theirs else None
        if theirs is not None and actual is not None and actual.shape == value.shape:
            visit(theirs, value, actual)
        return value

    graph.run(inputs, settle)


class _Package:
    """The trace of a package, asked for values by name in about the order in which it computes them."""

    def __init__(self, model: Model, arrays: Arrays, wanted: set[str]) -> None:
        self._taps: Iterator[Tap] = model.trace(arrays)
        self._wanted = wanted
        self._ready: dict[str, Tensor] = {}
        self.stopped = ""

    def value(self, name: str) -> Tensor | None:
        while name not in self._ready:
            try:
                tap = next(self._taps, None)
            except ModelError as error:
                self.stopped, tap = str(error), None
            if tap is None:
                return None
            if tap.name in self._wanted and isinstance(tap.tensor, Tensor):
                self._ready[tap.name] = tap.tensor
        return self._ready.pop(name)
