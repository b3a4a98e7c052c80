"""The contract of an output, checked before its values are compared: present, of the declared dtype and shape, finite,
and not constant. Each check is a finding, so that a verdict shows what was looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from parity.compare.modes import Comparison
from parity.declarations import Tensor
from parity.verdict import Finding

GATES = ("present", "golden", "dtype", "shape", "finite", "varies", "declared")


def check(group: Comparison) -> list[Finding]:
    """Return a finding for each gate on each declared output, and one for each output that is not declared.

    An output that only the reference has fails as well: nothing would compare it.

    Args:
        group: The outputs, beside upstream's.
    """
    if not group.declared:
        raise ValueError("no output is declared: there is nothing to check")
    sizes: dict[str, int] = {}
    for name, tensor in group.declared.items():
        if name in group.reference:
            tensor.bind(group.reference[name].shape, sizes)
    found = [finding for name in group.declared for finding in _output(group, name, sizes)]
    return [replace(finding, output=group.prefix + finding.output) for finding in (*found, *_undeclared(group))]


def _output(group: Comparison, name: str, sizes: Mapping[str, int]) -> Iterator[Finding]:
    def found(gate: str, fault: str, held: str = "") -> Finding:
        return Finding(name, gate, not fault, message=fault or held)

    tensor, dtype, golden = group.declared[name], group.dtypes[name], group.reference.get(name)
    yield found("golden", _golden_fault(tensor, golden, sizes), "the reference has it")
    if name not in group.actual:
        yield found("present", f"missing: the artifact gave {', '.join(group.actual) or 'nothing'}")
        return
    value: Any = group.actual[name]
    if not isinstance(value, np.ndarray):
        yield found("present", f"is of type {type(value).__name__}, not an array")
        return
    yield found("present", "", "given")
    wrong_dtype = "" if value.dtype == dtype else f"dtype {value.dtype} where {dtype} is expected"
    yield found("dtype", wrong_dtype, f"dtype {dtype}")
    yield found("shape", _shape_fault(tensor, value, golden, sizes), f"shape {value.shape}")
    unreal = "" if value.dtype.kind in "fiub" else f"holds {value.dtype}, not real numbers"
    not_finite = unreal or _not_finite(value)
    yield found("finite", not_finite, "all values finite")
    if not not_finite:
        held = "varies" if _level(value) is None else "constant, as the reference is"
        yield found("varies", _constant(value, golden), held)


def _golden_fault(tensor: Tensor, golden: np.ndarray | None, sizes: Mapping[str, int]) -> str:
    if golden is None:
        return "the golden has no such output: record it again, or don't declare it"
    if golden.size == 0:
        return f"the golden is empty, of shape {golden.shape}: there is nothing to compare with"
    if misfit := tensor.bind(golden.shape, dict(sizes)):
        return f"the golden, of shape {golden.shape}, doesn't fit the declaration: {misfit}"
    not_finite = _not_finite(golden)
    return f"the golden can't be compared with: {not_finite}" if not_finite else ""


def _shape_fault(tensor: Tensor, value: np.ndarray, golden: np.ndarray | None, sizes: Mapping[str, int]) -> str:
    misfit = tensor.bind(value.shape, dict(sizes))
    other = "" if golden is None or golden.shape == value.shape else f" where the reference has {golden.shape}"
    if not misfit and not other:
        return ""
    return f"shape {value.shape}{other}" + (f": {misfit}" if misfit else "")


def _not_finite(value: np.ndarray) -> str:
    """Return how many values are NaN or infinite, and where the first is, or an empty text if none is."""
    if value.dtype.kind != "f" or not (wrong := ~np.isfinite(value)).any():
        return ""
    counts = {"NaN": int(np.isnan(value).sum()), "infinite": int(np.isinf(value).sum())}
    kinds = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    first = tuple(map(int, np.unravel_index(int(wrong.argmax()), value.shape)))
    return f"{sum(counts.values())} of {value.size} values are not finite ({kinds}), the first at {first}"


def _constant(value: np.ndarray, golden: np.ndarray | None) -> str:
    """Return how a value is wrongly constant, or an empty text."""
    if value.size == 0:
        return f"is empty, of shape {value.shape}"
    level, expected = _level(value), _level(golden)
    if level is None:
        return ""
    if expected is not None:
        return "" if level or not expected else f"zero where the reference is {expected:.6g}"
    if value.size == 1:
        return ""
    return f"all {value.size} values are {level:.6g}: the reference varies" if golden is not None else "constant"


def _level(values: np.ndarray | None) -> Any:
    """Return the value that all values equal; None where they vary or there are none."""
    if values is None or not values.size or (values != values.flat[0]).any():
        return None
    return values.flat[0]


def _undeclared(group: Comparison) -> Iterator[Finding]:
    missing = [name for name in group.declared if name not in group.actual]
    for name, value in group.actual.items():
        if name not in group.declared:
            shape = getattr(value, "shape", None)
            alike = [other for other in missing if other in group.reference and group.reference[other].shape == shape]
            hint = f": is it {alike[0]!r}, renamed?" if len(alike) == 1 else ""
            yield Finding(name, "declared", False, message=f"given, but not declared{hint}")
    for name in group.reference:
        if name not in group.declared and name not in group.actual:
            said = "the golden has it, but it is not declared: nothing would compare it"
            yield Finding(name, "declared", False, message=said)
