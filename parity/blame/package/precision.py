"""A package whose graph is right and whose precision is too low: where rounding becomes an error."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from parity.blame.graph import closure
from parity.blame.likeness import relative_l2
from parity.blame.package.divergence import Visit
from parity.blame.package.program import Program
from parity.blame.package.runs import Divergence

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
"""Shows the values of a run, exact and as the package rounds them, in order; can be taken again."""
Values = Mapping[str, tuple[Tensor, Tensor]]
"""An op's operands and result, exact and rounded."""
Said = tuple[str, str]
"""A sentence, and the trait that hazards are recognized by, if any."""


def find(program: Program, walk: Walk, output: str) -> Divergence | None:
    """Return the op that makes the error of an output, by a walk of every value that it can show."""
    errors, broken = _errors(program, walk)
    # What is not finite comes first, if it stays so to the end: the arc tangent of an infinity is no harm.
    way = _way(program, output, broken)
    name = way[0] if way else _origin(program, errors, output)
    if name is None:
        return None
    operation, operands = program.makes(name), program.before(name)
    values: dict[str, tuple[Tensor, Tensor]] = {}

    def visit(shown: str, exact: Tensor, rounded: Tensor) -> None:
        if shown in (name, *operands) and shown not in values:
            values[shown] = exact.clone(), rounded.clone()

    walk(visit)
    exact, rounded = values.get(name, (None, None))
    found = list(_said(name, operands, values, errors, name in broken))
    return Divergence(
        value=name,
        reference=exact,
        candidate=rounded,
        spelled=[operation.type] if operation else [],
        behind=program.types_behind(name),
        said=tuple(sentence for sentence, _ in found),
        traits=frozenset(trait for _, trait in found if trait),
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
        for name, _ in operation.outputs:
            errors.setdefault(name, _largest_of(errors, program.before(name)))
    return errors, broken


def _largest_of(errors: Mapping[str, float], names: Sequence[str]) -> float:
    return max((errors.get(name, 0.0) for name in names), default=0.0)


def _origin(program: Program, errors: Mapping[str, float], output: str) -> str | None:
    """Return the first op that made the error grow; where it only builds up, the one that did most."""
    failure = errors.get(output, 0.0)
    bar = min(max(CARRIES * failure, 4 * HALF_ULP), HIGHEST_BAR, failure / 2)
    way = _way(program, output, {name for name, error in errors.items() if error >= bar})
    if not way:
        return None

    def growth(name: str) -> float:
        before = max(_largest_of(errors, program.before(name)), HALF_ULP)
        return errors[name] / before if math.isfinite(errors[name]) else math.inf

    return next((name for name in way if growth(name) >= GROWTH), max(way, key=growth))


def _way(program: Program, output: str, marked: set[str]) -> list[str]:
    """Return the marked values that lead to an output through nothing but marked values, in their order."""
    ends = [output] if output in marked and program.makes(output) else []
    found = closure(ends, lambda name: marked.intersection(program.before(name)))
    return [name for name in program.names if name in found]


def _said(
    name: str, operands: Sequence[str], values: Values, errors: Mapping[str, float], broken: bool
) -> Iterator[Said]:
    """Yield sentences about an op."""
    if name not in values:
        return
    exact, rounded = values[name]
    if broken and (most := _largest(exact)) > FLOAT16_MAX:
        yield f"its values reach {most:.3g}, beyond float16's 65504", "overflow"
    elif broken:
        yield f"{int((~rounded.isfinite()).sum())} of {rounded.numel()} values are not finite, in fp32 all are", ""
    else:
        lost = int(((rounded == 0) & (exact != 0) & (exact.abs() < FLOAT16_TINY)).sum())
        if lost > exact.numel() / 100:
            yield f"{lost} of {exact.numel()} values became zero: they are too small for float16", "underflow"
    for read in (*operands, name):
        if read in values and values[read][1].dtype == torch.float16:
            yield from _of_range(read, values[read][0])
    carried = [_rms(values[read][0]) for read in operands if read in values]
    if len(carried) > 1 and exact.is_floating_point() and _rms(exact) < LEFT_BY_CANCELLATION * max(carried):
        yield f"cancellation: of operands of rms {max(carried):.3g}, {_rms(exact):.3g} is left", ""
    if not broken:
        before = _largest_of(errors, operands)
        grew = errors[name] >= GROWTH * max(before, HALF_ULP)
        how = "the error is" if grew else "the error builds up from op to op:"
        yield f"{how} {before:.2g} before it, {errors[name]:.2g} after it", ""


def _of_range(name: str, value: Tensor) -> Iterator[Said]:
    most = _largest(value)
    if most <= EXACT_UP_TO or most > FLOAT16_MAX or torch.equal(value.half().to(value.dtype), value):
        return
    if bool((value.double() == value.double().round()).all()):
        said = f"`{name}` holds whole numbers up to {most:.0f}, which float16 has exactly only up to 2048"
        yield said, "whole numbers past 2048"
    else:
        step = 2.0 ** (math.floor(math.log2(most)) - 10)
        yield f"`{name}` reaches {most:.3g}, where float16 has steps of {step:g}", ""


def _largest(value: Tensor) -> float:
    """Return the largest finite magnitude; 0 where there is none."""
    finite = value.double()[value.isfinite()]
    return float(finite.abs().max()) if finite.numel() else 0.0


def _rms(value: Tensor) -> float:
    return float(value.double().square().mean().sqrt()) if value.numel() else 0.0
