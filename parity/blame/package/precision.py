"""A package whose graph is right and whose precision is too low: where rounding becomes an error."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from milrun import Model
from parity.blame.distance import largest, relative_l2, rms, whole
from parity.blame.package.divergence import Divergence
from parity.blame.package.lockstep import Visit
from parity.blame.package.program import Program
from parity.declarations import Arrays

HALF_ULP = 5e-4
"""The relative error of one rounding to half precision: no op starts with less."""
CARRIES = 0.1
"""The share of the failure that a value has to have, to be on the way of the error."""
HIGHEST_BAR = 0.05
GROWTH = 8.0
"""The factor over its operands' errors from which an op has made the error of its value."""
FLOAT16_MAX, FLOAT16_TINY = 65504.0, 6.1e-5
EXACT_UP_TO = 2048
LEFT_BY_CANCELLATION = 0.05


Walk = Callable[[Visit], None]
"""Shows the values of a run, in order; can be taken again."""


@dataclass(frozen=True)
class Values:
    """An op's operands and result, in both numerics."""

    exact: dict[str, Tensor]
    rounded: dict[str, Tensor]


def of_package(exact: Model, rounded: Model, arrays: Arrays) -> Walk:
    """Return a walk through the same package in two numerics."""

    def walk(visit: Visit) -> None:
        for one, other in zip(exact.trace(arrays), rounded.trace(arrays), strict=True):
            if isinstance(one.tensor, Tensor) and isinstance(other.tensor, Tensor):
                visit(one.name, one.tensor, other.tensor)

    return walk


def find(program: Program, walk: Walk, output: str) -> Divergence | None:
    """Return the op that makes the error.

    Args:
        program: The package.
        walk: Shows every value that it can, exact and as the package rounds it.
        output: The output that failed.
    """
    errors, broken = _errors(program, walk)
    # What is not finite comes first, if it stays so to the end: the arc tangent of an infinity is no harm.
    way = _way(program, output, broken)
    name = min(way, key=program.position) if way else _origin(program, errors, output)
    if name is None:
        return None
    operation = program.makes(name)
    operands = program.computed(operation) if operation else []
    values = _values(walk, {name, *operands})
    said, traits = _said(name, operands, values, errors, name in broken)
    return Divergence(
        value=name,
        operation=operation,
        reference=values.exact.get(name),
        candidate=values.rounded.get(name),
        spelled=[operation.type] if operation else [],
        behind=program.types_behind(name),
        said=tuple(said),
        traits=frozenset(traits),
    )


def _errors(program: Program, walk: Walk) -> tuple[dict[str, float], set[str]]:
    """Return the distance of each rounded value from the exact one, and those that only rounding made infinite.

    A value that is not shown has the error of its operands.
    """
    errors: dict[str, float] = {}
    broken: set[str] = set()

    def visit(name: str, exact: Tensor, rounded: Tensor) -> None:
        errors[name] = max(relative_l2(exact, rounded), errors.get(name, 0.0))
        if bool(exact.isfinite().all()) and not bool(rounded.isfinite().all()):
            broken.add(name)

    walk(visit)
    for operation in program.operations:
        inherited = max((errors.get(read, 0.0) for read in program.computed(operation)), default=0.0)
        for name, _ in operation.outputs:
            errors.setdefault(name, inherited)
    return errors, broken


def _origin(program: Program, errors: Mapping[str, float], output: str) -> str | None:
    """Return the first op that made the error grow; where it only builds up, the one that did most."""
    failure = errors.get(output, 0.0)
    bar = min(max(CARRIES * failure, 4 * HALF_ULP), HIGHEST_BAR, failure / 2)
    way = _way(program, output, {name for name, error in errors.items() if error >= bar})
    if not way:
        return None
    growths = {name: _growth(program, name, errors) for name in way}
    grown = [name for name, growth in growths.items() if growth >= GROWTH]
    return min(grown, key=program.position) if grown else max(growths, key=lambda name: growths[name])


def _way(program: Program, output: str, marked: set[str]) -> set[str]:
    """Return the marked values that lead to an output through nothing but marked values."""
    way: set[str] = set()
    waiting = [output]
    while waiting:
        name = waiting.pop()
        operation = program.makes(name)
        if operation and name in marked and name not in way:
            way.add(name)
            waiting += program.computed(operation)
    return way


def _growth(program: Program, name: str, errors: Mapping[str, float]) -> float:
    operation = program.makes(name)
    before = max((errors.get(read, 0.0) for read in program.computed(operation)), default=0.0) if operation else 0.0
    return errors[name] / max(before, HALF_ULP) if math.isfinite(errors[name]) else math.inf


def _values(walk: Walk, names: set[str]) -> Values:
    values = Values({}, {})

    def visit(name: str, exact: Tensor, rounded: Tensor) -> None:
        if name in names:
            values.exact.setdefault(name, exact.clone())
            values.rounded.setdefault(name, rounded.clone())

    walk(visit)
    return values


Said = tuple[list[str], set[str]]
"""Sentences, and the traits that hazards are recognized by."""


def _said(name: str, operands: Sequence[str], values: Values, errors: Mapping[str, float], broken: bool) -> Said:
    if name not in values.exact:
        return [], set()
    exact = values.exact[name]
    said, traits = _of_result(exact, values.rounded[name], broken)
    for read in [*operands, name]:
        if read in values.exact and values.rounded[read].dtype == torch.float16:
            more, marks = _of_range(read, values.exact[read])
            said, traits = [*said, *more], traits | marks
    carried = [rms(values.exact[read]) for read in operands if read in values.exact]
    if len(carried) > 1 and exact.is_floating_point() and rms(exact) < LEFT_BY_CANCELLATION * max(carried):
        said.append(f"cancellation: of operands of rms {max(carried):.3g}, {rms(exact):.3g} is left")
    if not broken:
        before = max((errors.get(read, 0.0) for read in operands), default=0.0)
        grew = errors[name] >= GROWTH * max(before, HALF_ULP)
        how = "the error is" if grew else "the error builds up from op to op:"
        said.append(f"{how} {before:.2g} before it, {errors[name]:.2g} after it")
    return said, traits


def _of_result(exact: Tensor, rounded: Tensor, broken: bool) -> Said:
    if broken and largest(exact) > FLOAT16_MAX:
        return [f"its values reach {largest(exact):.3g}, beyond float16's 65504"], {"overflow"}
    if broken:
        lost = int((~rounded.isfinite()).sum())
        return [f"{lost} of {rounded.numel()} values are not finite, in fp32 all are"], set()
    lost = int(((rounded == 0) & (exact != 0) & (exact.abs() < FLOAT16_TINY)).sum())
    if lost > exact.numel() / 100:
        return [f"{lost} of {exact.numel()} values became zero: they are too small for float16"], {"underflow"}
    return [], set()


def _of_range(name: str, value: Tensor) -> Said:
    most = largest(value)
    if most <= EXACT_UP_TO or most > FLOAT16_MAX or torch.equal(value.half().to(value.dtype), value):
        return [], set()
    if whole(value):
        said = f"`{name}` holds whole numbers up to {most:.0f}, which float16 has exactly only up to 2048"
        return [said], {"whole numbers past 2048"}
    return [f"`{name}` reaches {most:.3g}, where float16 has steps of {_step(most):g}"], set()


def _step(value: float) -> float:
    """Return the distance between neighbours of float16 about a value."""
    return float(2.0 ** (math.floor(math.log2(value)) - 10))
