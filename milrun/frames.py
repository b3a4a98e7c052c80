"""Convolutions of one channel that take the same frames, as an STFT spells out its two parts: one product for all.

If all that becomes of them is their squares, as for a power spectrum, these are one op too.

They are never replaced by an FFT: the kernels that coremltools writes are those of a transform to five digits only (its
angles are rounded to fp32 before their cosines are taken), and a run shows what the package holds.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from milrun import dtypes
from milrun.blob import forget
from milrun.fusion import constant, known_shape, one
from milrun.program import Argument, Function, Operation, TensorType, Value, names_read


@dataclass(frozen=True)
class _Framing:
    """A convolution of one channel without bias, of which all but the input is known."""

    operation: Operation
    weight: Value
    kernels: tuple[int, ...]
    result: tuple[int, ...]
    attributes: dict[str, Any]

    @property
    def shared(self) -> str:
        """The things that convolutions must have in common to be joined: all but the kernels and their number."""
        types = [getattr(type, "dtype", None) for type in (self.weight.type, self.operation.outputs[0][1])]
        return repr(
            (self.operation.inputs["x"], sorted(self.attributes.items()), types, self.kernels[2], self.result[2])
        )


def join_frames(function: Function) -> Function:
    """Return the function with one convolution and a split in place of each group that takes the same frames."""
    constants = {op.outputs[0][0]: op for op in function.body.operations if op.type == "const" and op.outputs}
    groups: dict[str, list[_Framing]] = {}
    for operation in function.body.operations:
        if (framing := _framing(operation, constants)) is not None:
            groups.setdefault(framing.shared, []).append(framing)
    uses = Counter(names_read(function.body))
    squares = {of: op for op in function.body.operations if op.type == "square" and isinstance(of := one(op, "x"), str)}
    replaced: dict[int, list[Operation]] = {}
    for group in (group for group in groups.values() if len(group) > 1):
        parts = [framing.operation for framing in group]
        made = [part.outputs[0][0] for part in parts]
        squared = [squares[name] for name in made if name in squares and uses[name] == 1]
        squared = squared if len(squared) == len(parts) else []
        replaced |= {id(gone): [] for gone in (*parts, *squared)}
        replaced[id(parts[0])] = _joined(group, squared)
    kept = [new for operation in function.body.operations for new in replaced.get(id(operation), [operation])]
    return replace(function, body=replace(function.body, operations=kept))


def _framing(operation: Operation, constants: dict[str, Operation]) -> _Framing | None:
    if operation.type != "conv" or "bias" in operation.inputs or len(operation.outputs) != 1:
        return None
    weight = constant(operation.inputs.get("weight", []), constants)
    if weight is None:
        return None
    kernels, result = known_shape(weight.type), known_shape(operation.outputs[0][1])
    if kernels is None or result is None or len(kernels) != 3 or len(result) != 3 or kernels[1] != 1:
        return None
    attributes = {}
    for name in operation.inputs.keys() - {"x", "weight"}:
        value = constant(operation.inputs[name], constants)
        datum = value.load() if value is not None else None
        attributes[name] = datum.tolist() if isinstance(datum, Tensor) else datum
    # With more groups than one the order of the kernels would matter; what isn't constant can't be compared.
    if None in attributes.values() or attributes.get("groups", 1) != 1:
        return None
    return _Framing(operation, weight, kernels, result, attributes)


def _joined(group: list[_Framing], squared: list[Operation]) -> list[Operation]:
    counts = [framing.kernels[0] for framing in group]
    first, weight = group[0].operation, group[0].weight
    made = first.outputs[0][1]
    assert isinstance(made, TensorType)
    assert isinstance(weight.type, TensorType)
    batch, _, frames = group[0].result
    name = "+".join(framing.operation.outputs[0][0] for framing in group)
    kernels = replace(weight.type, shape=(sum(counts), *group[0].kernels[1:]))
    joined = Value(kernels, "immediate", partial(_together, group), decoded_bytes=kernels.least_bytes())
    whole = replace(made, shape=(batch, sum(counts), frames))
    together = replace(first, name=name, inputs=first.inputs | {"weight": [joined]}, outputs=[(name, whole)])
    parted: dict[str, list[Argument]] = {"axis": [_whole(1)], "split_sizes": [_whole(counts)]}
    if not squared:
        outputs = [output for framing in group for output in framing.operation.outputs]
        return [together, Operation("split", name, {"x": [name], **parted}, outputs, place=first.place)]
    power = "+".join(square.outputs[0][0] for square in squared)
    outputs = [output for square in squared for output in square.outputs]
    return [
        together,
        Operation("square", power, {"x": [name]}, [(power, whole)], place=squared[0].place),
        Operation("split", power, {"x": [power], **parted}, outputs, place=squared[0].place),
    ]


def _together(group: list[_Framing]) -> Tensor:
    parts = [datum for framing in group if isinstance(datum := framing.weight.load(), Tensor)]
    kernels = torch.cat(parts)
    forget(*parts)
    return kernels


def _whole(value: int | list[int]) -> Value:
    held = torch.tensor(value, dtype=torch.int32)
    return Value(TensorType(dtypes.INT32, tuple(held.shape)), "immediate", partial(torch.clone, held))
