"""The contract of an output, checked before its values are compared: present, of the declared dtype and shape, finite,
and not constant. Each check is a finding, so that a verdict shows what was looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from parity.declarations import Tensor, Variant
from parity.verdict import Finding

GATES = ("present", "golden", "dtype", "shape", "finite", "varies", "declared")


def check(
    declared: Mapping[str, Tensor],
    variant: Variant,
    actual: Mapping[str, np.ndarray],
    reference: Mapping[str, np.ndarray],
    dtypes: Mapping[str, str] | None = None,
) -> list[Finding]:
    """Return a finding for each gate on each declared output, and one for each output that is not declared.

    An output that only the reference has fails as well: nothing would compare it.

    Args:
        declared: The declared outputs.
        variant: The variant of the artifact.
        actual: The outputs of the artifact.
        reference: Upstream's outputs.
        dtypes: The dtypes to expect, where they are not the variant's own: in fp32 numerics milrun gives float32 for
            a float16.
    """
    if not declared:
        raise ValueError(f"variant {variant.name} declares no outputs: there is nothing to check")
    if dtypes is None:
        dtypes = {name: tensor.dtype_in(variant) for name, tensor in declared.items()}
    unknown = [name for name in declared if name not in dtypes]
    if unknown:
        raise ValueError(f"no dtype to expect is given for the declared outputs {', '.join(unknown)}")
    sizes = _sizes(declared, reference)
    findings: list[Finding] = []
    for name, tensor in declared.items():
        findings += _output(name, tensor, dtypes[name], actual, reference, sizes)
    findings += _undeclared(declared, actual, reference)
    return findings


def _sizes(declared: Mapping[str, Tensor], reference: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Return the sizes of the dynamic dimensions, as the reference has them."""
    sizes: dict[str, int] = {}
    for name, tensor in declared.items():
        if name in reference:
            tensor.bind(reference[name].shape, sizes)
    return sizes


def _output(
    name: str,
    tensor: Tensor,
    dtype: str,
    actual: Mapping[str, Any],
    reference: Mapping[str, np.ndarray],
    sizes: Mapping[str, int],
) -> Iterator[Finding]:
    golden = reference.get(name)
    yield _finding(name, "golden", _golden_fault(tensor, golden, sizes), "the reference has it")
    if name not in actual:
        given = ", ".join(actual) or "nothing"
        yield _finding(name, "present", f"missing: the artifact gave {given}")
        return
    value = actual[name]
    if not isinstance(value, np.ndarray):
        yield _finding(name, "present", f"is of type {type(value).__name__}, not an array")
        return
    yield _finding(name, "present", "", "given")
    wrong_dtype = "" if value.dtype == dtype else f"dtype {value.dtype} where {dtype} is expected"
    yield _finding(name, "dtype", wrong_dtype, f"dtype {dtype}")
    yield _finding(name, "shape", _shape_fault(tensor, value, golden, sizes), f"shape {value.shape}")
    if value.dtype.kind not in "fiub":
        yield _finding(name, "finite", f"holds {value.dtype}, not real numbers")
        return
    not_finite = _not_finite(value)
    yield _finding(name, "finite", not_finite, "all values finite")
    if not not_finite:
        held = "constant, as the reference is" if value.size and _is_constant(value) else "varies"
        yield _finding(name, "varies", _constant(value, golden), held)


def _golden_fault(tensor: Tensor, golden: np.ndarray | None, sizes: Mapping[str, int]) -> str:
    if golden is None:
        return "the golden has no such output: record it again, or don't declare it"
    if golden.size == 0:
        return f"the golden is empty, of shape {golden.shape}: there is nothing to compare with"
    misfit = tensor.bind(golden.shape, dict(sizes))
    if misfit:
        return f"the golden, of shape {golden.shape}, doesn't fit the declaration: {misfit}"
    not_finite = _not_finite(golden)
    return f"the golden can't be compared with: {not_finite}" if not_finite else ""


def _shape_fault(tensor: Tensor, value: np.ndarray, golden: np.ndarray | None, sizes: Mapping[str, int]) -> str:
    misfit = tensor.bind(value.shape, dict(sizes))
    if misfit is None and (golden is None or golden.shape == value.shape):
        return ""
    fault = f"shape {value.shape}"
    if golden is not None and golden.shape != value.shape:
        fault += f" where the reference has {golden.shape}"
    return f"{fault}: {misfit}" if misfit else fault


def _not_finite(value: np.ndarray) -> str:
    """Return how many values are NaN or infinite, and where the first is, or an empty text if none is."""
    if value.dtype.kind != "f":
        return ""
    wrong = ~np.isfinite(value)
    count = int(wrong.sum())
    if not count:
        return ""
    nans = int(np.isnan(value).sum())
    kinds = [f"{nans} NaN"] * bool(nans) + [f"{count - nans} infinite"] * bool(count - nans)
    first = tuple(int(i) for i in np.unravel_index(int(np.argmax(wrong)), value.shape))
    return f"{count} of {value.size} values are not finite ({', '.join(kinds)}), the first at {first}"


def _constant(value: np.ndarray, golden: np.ndarray | None) -> str:
    if value.size == 0:
        return f"is empty, of shape {value.shape}"
    if not _is_constant(value):
        return ""
    first = value.reshape(-1)[0]
    if golden is not None and golden.size and _is_constant(golden):
        return "" if first or not golden.reshape(-1)[0] else f"zero where the reference is {golden.reshape(-1)[0]:.6g}"
    if value.size == 1:
        return ""
    return f"all {value.size} values are {first:.6g}: the reference varies" if golden is not None else "constant"


def _is_constant(value: np.ndarray) -> bool:
    return bool((value == value.reshape(-1)[0]).all())


def _undeclared(
    declared: Mapping[str, Tensor], actual: Mapping[str, Any], reference: Mapping[str, np.ndarray]
) -> Iterator[Finding]:
    missing = [name for name in declared if name not in actual]
    for name, value in actual.items():
        if name not in declared:
            shape = getattr(value, "shape", None)
            alike = [other for other in missing if other in reference and reference[other].shape == shape]
            hint = f": is it {alike[0]!r}, renamed?" if len(alike) == 1 else ""
            yield _finding(name, "declared", f"given, but not declared{hint}")
    for name in reference:
        if name not in declared and name not in actual:
            yield _finding(name, "declared", "the golden has it, but it is not declared: nothing would compare it")


def _finding(output: str, gate: str, fault: str, held: str = "") -> Finding:
    return Finding(output, gate, not fault, message=fault or held)
