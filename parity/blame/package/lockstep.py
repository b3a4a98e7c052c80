"""The package beside the traced module, each op on the same operands: an error is then the op's own.

At every value that both name, the module goes on with the package's value. So nothing that went wrong before is in a
comparison, and an op that makes much of a small error is not taken for one that errs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from milrun import ModelError
from parity.blame.distance import relative_l2
from parity.blame.package.failure import Failure

Visit = Callable[[str, Tensor, Tensor], None]
"""Gets a value's name in the package, the value as it should be, and as the package has it."""


@dataclass(frozen=True)
class Steps:
    """The errors that ops made by themselves, by the package's names; and the values of those to look at."""

    errors: Mapping[str, float]
    seen: Mapping[str, tuple[Tensor, Tensor]]
    stopped: str = ""
    """The package's own error, if it could not be run to its end."""


def compare(failure: Failure, matched: Mapping[str, str], look_at: frozenset[str] = frozenset()) -> Steps:
    """Run both in fp32. Values in `look_at` are compared and returned, and the module goes on with its own."""
    errors: dict[str, float] = {}
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def settle(name: str, value: Tensor, actual: Tensor) -> Tensor:
        if actual.shape != value.shape:
            if actual.numel() != value.numel():
                errors[name] = math.inf
                seen[name] = value.clone(), actual
            return value  # Of another shape and as many values: a layout that the converter changed.
        errors[name] = relative_l2(value, actual)
        if name in look_at:
            seen[name] = value.clone(), actual.clone()
            return value
        return actual.to(value.dtype, copy=failure.graph.mutates)

    stopped = _run(failure, "fp32", matched, settle)
    return Steps(errors, seen, stopped)


def beside(failure: Failure, numerics: str, matched: Mapping[str, str], visit: Visit) -> None:
    """Run both, each on its own values, so that errors are seen as they grow."""

    def settle(name: str, value: Tensor, actual: Tensor) -> Tensor:
        if actual.shape == value.shape:
            visit(name, value, actual)
        return value

    _run(failure, numerics, matched, settle)


def _run(
    failure: Failure, numerics: str, matched: Mapping[str, str], settle: Callable[[str, Tensor, Tensor], Tensor]
) -> str:
    """Run both, settle each value that both name, and return the package's own error, if it made one.

    The package is asked for values in about the order in which it computes them.
    """
    taps = failure.model(numerics).trace(failure.rounded)
    wanted, ready, stopped = set(matched.values()), dict[str, Tensor](), ""

    def asked(name: str) -> Tensor | None:
        nonlocal stopped
        while name not in ready:
            try:
                tap = next(taps, None)
            except ModelError as error:
                stopped, tap = str(error), None
            if tap is None:
                return None
            if tap.name in wanted and isinstance(tap.tensor, Tensor):
                ready[tap.name] = tap.tensor
        return ready.pop(name)

    def settled(name: str, value: Tensor) -> Tensor:
        theirs = matched.get(name)
        actual = asked(theirs) if theirs else None
        return value if theirs is None or actual is None else settle(theirs, value, actual)

    failure.graph.run(failure.tensors, settled)
    return stopped
