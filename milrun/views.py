"""Ops that only give a tensor another shape, which converters write in chains: one reshape for each chain, or none."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from milrun import dtypes
from milrun.fusion import constant, known_shape, one
from milrun.program import MAX_RANK, Function, Operation, TensorType, Type, Value, names_read
from milrun.registry import find

_ATTRIBUTES = {"reshape": "shape", "expand_dims": "axes", "squeeze": "axes"}


def join_views(function: Function) -> Function:
    """Return the function with one reshape for each chain of views, and none for a chain that ends where it began.

    A view that is left out is never run, so only those are that declare the shape which follows from the program.
    """
    body = function.body
    held = {name for operation in body.operations for block in operation.blocks for name in names_read(block)}
    made = Counter(name for operation in body.operations for name, _ in operation.outputs)
    types: dict[str, Type] = dict(function.inputs)
    constants: dict[str, Operation] = {}
    roots: dict[str, str] = {}
    """The tensor that a view shows."""
    same: dict[str, str] = {}
    """The tensor that stands for a view of its own shape."""
    operations: list[Operation] = []
    for operation in body.operations:
        inputs = {name: [same.get(str(a), a) for a in group] for name, group in operation.inputs.items()}
        operation = replace(operation, inputs=inputs)
        if _is_view(operation, function.opset, types, constants):
            name, type = operation.outputs[0]
            source = str(one(operation, "x"))
            root = roots.get(source, source)
            if made[name] == 1 and name not in types:
                roots[name] = root
                if types[root] == type and name not in held and name not in body.outputs:
                    same[name] = root
                if root != source:
                    shape = torch.tensor(known_shape(type), dtype=torch.int32)
                    value = Value(TensorType(dtypes.INT32, (len(shape),)), "immediate", partial(torch.clone, shape))
                    operation = replace(operation, type="reshape", inputs={"x": [root], "shape": [value]})
        types |= operation.outputs
        if operation.type == "const" and operation.outputs:
            constants[operation.outputs[0][0]] = operation
        operations.append(operation)
    uses = Counter(names_read(replace(body, operations=operations)))
    left = [op for op in operations if not op.outputs or op.outputs[0][0] not in roots or uses[op.outputs[0][0]]]
    return replace(function, body=replace(body, operations=left))


def _is_view(operation: Operation, opset: str, types: dict[str, Type], constants: dict[str, Operation]) -> bool:
    """Return whether an op gives a computed tensor the shape that it declares, all sizes known."""
    attribute = _ATTRIBUTES.get(operation.type)
    if attribute is None or operation.inputs.keys() != {"x", attribute} or len(operation.outputs) != 1:
        return False
    source, (_, declared) = one(operation, "x"), operation.outputs[0]
    if not isinstance(source, str) or source in constants or not isinstance(declared, TensorType):
        return False
    before, after = known_shape(found := types.get(source)), known_shape(declared)
    if not isinstance(found, TensorType) or found.dtype != declared.dtype or before is None or after is None:
        return False
    value = constant(operation.inputs[attribute], constants)
    datum, definition = value.load() if value is not None else None, find(operation.type, opset)
    if not isinstance(datum, Tensor) or datum.dim() != 1 or len(after) > MAX_RANK or definition is None:
        return False
    try:
        shape = definition.run(torch.empty(before, device="meta"), datum.tolist()).shape
    except Exception:  # A fault of the package: the step's own message says more.
        return False
    return tuple(shape) == after
