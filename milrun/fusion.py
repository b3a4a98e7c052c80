"""Fusion of patterns that MIL spells out in several ops and torch has as one.

Attention is fused in numerics ``fp32`` alone: ``declared`` rounds after each op, and a fused kernel does not.
A ``tile`` that only gives a ``select`` operands of one shape is left out in all numerics: torch broadcasts by itself.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from milrun.program import Argument, Block, Function, Operation, TensorType, Type, Value, names_read
from milrun.registry import op

ATTENTION = "fused_attention"
"""An op type of our own, which no package may name."""
_KERNEL_PAYS_FROM = 4
"""Queries from which torch's attention kernel is faster than its parts."""


@op(ATTENTION)
def fused_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    scale: float | None = None,
    transpose_y: bool = False,
) -> Tensor:
    """Return ``softmax(query * key * scale + mask) * value``, the key transposed if so."""
    if not transpose_y:
        key = key.mT
    if mask is not None and mask.dim() < 2:
        mask = mask.reshape(1, -1)  # torch's kernel counts axes from the end
    same = query.shape[:-2] == key.shape[:-2] == value.shape[:-2] and key.shape[-2] == value.shape[-2]
    shape = (*query.shape[:-1], key.shape[-2])
    sizes = zip(mask.shape[::-1], shape[::-1], strict=False) if mask is not None else ()
    fits = mask is None or (mask.dim() <= len(shape) and all(size in (1, whole) for size, whole in sizes))
    # torch's kernel gives zeros where all of a row is masked with -inf. The program would give NaN, and must.
    if same and fits and query.dim() > 2 and (mask is None or bool(mask.isfinite().all())):
        return F.scaled_dot_product_attention(query, key, value, mask, scale=1.0 if scale is None else scale)
    scores = torch.matmul(query, key.mT)
    if scale is not None:
        scores = scores * scale
    if mask is not None:
        scores = scores + mask
    return torch.matmul(torch.softmax(scores, -1), value)


def fuse_attention(function: Function) -> Function:
    """Return the function with attention in one op wherever its body spells it out and keeps the parts to itself."""
    operations = list(function.body.operations)
    makers = {name: operation for operation in operations for name, _ in operation.outputs}
    uses = Counter(names_read(function.body))
    constants = {name: maker for name, maker in makers.items() if maker.type == "const"}
    gone: set[int] = set()
    for index, last in enumerate(operations):
        found = _attention(last, makers, uses, constants)
        if found is not None:
            operations[index], parts = found
            gone.update(id(part) for part in parts)
    kept = [operation for operation in operations if id(operation) not in gone]
    body = Block(function.body.inputs, kept, function.body.outputs, function.body.place)
    return replace(function, body=body)


def _attention(
    last: Operation, makers: dict[str, Operation], uses: Counter[str], constants: dict[str, Operation]
) -> tuple[Operation, list[Operation]] | None:
    if last.type != "matmul" or _flag(last, "transpose_x", constants) or _flag(last, "transpose_y", constants):
        return None
    softmax = _only_use(last, "x", "softmax", makers, uses)
    if softmax is None or _integer(softmax, "axis", constants) not in (None, -1, 3):
        return None
    parts = [softmax]
    inputs: dict[str, list[Argument]] = {"value": last.inputs["y"]}
    source, parameter = softmax, "x"
    added = _only_use(source, parameter, "add", makers, uses)
    if added is not None:
        parts.append(added)
        side = _other_side(added, ("mul", "matmul"), makers)
        if side is None:
            return None
        inputs["mask"] = added.inputs["y" if side == "x" else "x"]
        source, parameter = added, side
    scaled = _only_use(source, parameter, "mul", makers, uses)
    if scaled is not None:
        parts.append(scaled)
        side = _other_side(scaled, ("matmul",), makers)
        factor = scaled.inputs["y" if side == "x" else "x"]
        if side is None or not _is_scalar_constant(factor, constants):
            return None
        inputs["scale"] = factor
        source, parameter = scaled, side
    product = _only_use(source, parameter, "matmul", makers, uses)
    if product is None or _flag(product, "transpose_x", constants):
        return None
    parts.append(product)
    if not all(_rank_is_four(part) for part in (product, last)) or _has_few_rows(last):
        return None
    inputs |= {"query": product.inputs["x"], "key": product.inputs["y"]}
    if "transpose_y" in product.inputs:
        inputs["transpose_y"] = product.inputs["transpose_y"]
    return Operation(ATTENTION, last.name, inputs, last.outputs, place=last.place), parts


def broadcast_selects(function: Function) -> Function:
    """Return the function without tiles that are read only by selects with another operand of full shape."""
    operations = function.body.operations
    types = dict(function.inputs) | {name: type for operation in operations for name, type in operation.outputs}
    constants = {op.outputs[0][0]: op for op in operations if op.type == "const" and op.outputs}
    tiles = {op.outputs[0][0]: op for op in operations if _is_broadcast(op, types, constants)}
    uses = Counter(names_read(function.body))
    for operation in operations:
        if operation.type == "select":
            names = [argument for group in operation.inputs.values() for argument in group if isinstance(argument, str)]
            whole = [name for name in names if name not in tiles]
            if any(known_shape(types.get(name)) == known_shape(operation.outputs[0][1]) for name in whole):
                uses.subtract(names)
    spared = {name: tile for name, tile in tiles.items() if uses[name] == 0}
    kept = [
        replace(operation, inputs={key: _without(group, spared) for key, group in operation.inputs.items()})
        if operation.type == "select"
        else operation
        for operation in operations
        if not operation.outputs or operation.outputs[0][0] not in spared
    ]
    body = Block(function.body.inputs, kept, function.body.outputs, function.body.place)
    return replace(function, body=body)


def name_squares(function: Function) -> Function:
    """Return the function with ``square`` in place of each ``pow`` to 2: it needs no wider operands."""
    constants = {op.outputs[0][0]: op for op in function.body.operations if op.type == "const" and op.outputs}
    operations = [
        Operation("square", op.name, {"x": op.inputs["x"]}, op.outputs, place=op.place)
        if op.type == "pow" and _is_two(op.inputs.get("y", []), constants) and "x" in op.inputs
        else op
        for op in function.body.operations
    ]
    return replace(function, body=replace(function.body, operations=operations))


def _is_two(arguments: list[Argument], constants: dict[str, Operation]) -> bool:
    value = constant(arguments, constants)
    datum = value.load() if value is not None and known_shape(value.type) == () else None
    return isinstance(datum, Tensor) and datum.is_floating_point() and datum.item() == 2


def _is_broadcast(operation: Operation, types: dict[str, Type], constants: dict[str, Operation]) -> bool:
    """Return whether an op repeats only axes of size 1, by known sizes."""
    if operation.type != "tile" or len(operation.outputs) != 1:
        return False
    source = operation.inputs.get("x", [None])[0]
    before, after = (
        known_shape(types.get(source) if isinstance(source, str) else None),
        known_shape(operation.outputs[0][1]),
    )
    if before is None or after is None or len(before) != len(after):
        return False
    reps = constant(operation.inputs.get("reps", []), constants)
    wanted = reps.load() if reps is not None else None
    factors = wanted.tolist() if isinstance(wanted, Tensor) else None
    sizes = list(zip(before, after, strict=True))
    return factors == [new if old == 1 else 1 for old, new in sizes] and all(old in (1, new) for old, new in sizes)


def known_shape(type: Type | None) -> tuple[int, ...] | None:
    """Return the shape of a tensor type if all of it is known."""
    shape = type.shape if isinstance(type, TensorType) else None
    known = tuple(size for size in shape or () if size is not None)
    return known if shape is not None and len(known) == len(shape) else None


def _without(group: list[Argument], tiles: dict[str, Operation]) -> list[Argument]:
    return [tiles[a].inputs["x"][0] if isinstance(a, str) and a in tiles else a for a in group]


def _only_use(
    operation: Operation, parameter: str, type: str, makers: dict[str, Operation], uses: Counter[str]
) -> Operation | None:
    """Return the op of this type that makes an argument, if nothing else reads what it makes."""
    arguments = operation.inputs.get(parameter, [])
    name = arguments[0] if len(arguments) == 1 else None
    maker = makers.get(name) if isinstance(name, str) else None
    return maker if maker is not None and maker.type == type and uses[str(name)] == 1 else None


def _other_side(operation: Operation, types: tuple[str, ...], makers: dict[str, Operation]) -> str | None:
    """Return the operand of a commutative op that one of these op types makes."""
    for parameter in ("x", "y"):
        name = operation.inputs[parameter][0]
        if isinstance(name, str) and name in makers and makers[name].type in types:
            return parameter
    return None


def one(operation: Operation, parameter: str) -> Argument | None:
    """Return an argument that is a single value."""
    group = operation.inputs.get(parameter, [])
    return group[0] if len(group) == 1 else None


def constant(arguments: list[Argument], constants: dict[str, Operation]) -> Value | None:
    """Return the constant that an argument of one value is or names."""
    argument = arguments[0] if len(arguments) == 1 else None
    if isinstance(argument, str) and argument in constants:
        held = constants[argument].inputs.get("val", [])
        argument = held[0] if held else None
    return argument if isinstance(argument, Value) else None


def _is_scalar_constant(arguments: list[Argument], constants: dict[str, Operation]) -> bool:
    value = constant(arguments, constants)
    return value is not None and isinstance(value.type, TensorType) and set(value.type.shape or ()) <= {1}


def _flag(operation: Operation, parameter: str, constants: dict[str, Operation]) -> bool:
    return bool(_integer(operation, parameter, constants))


def _integer(operation: Operation, parameter: str, constants: dict[str, Operation]) -> int | None:
    if parameter not in operation.inputs:
        return None
    value = constant(operation.inputs[parameter], constants)
    datum = value.load() if value is not None else None
    return int(datum.item()) if isinstance(datum, Tensor) and datum.numel() == 1 else -2


def _has_few_rows(operation: Operation) -> bool:
    type = operation.outputs[0][1]
    rows = type.shape[-2] if isinstance(type, TensorType) and type.shape else None
    return rows is not None and rows < _KERNEL_PAYS_FROM


def _rank_is_four(operation: Operation) -> bool:
    type = operation.outputs[0][1] if operation.outputs else None
    return isinstance(type, TensorType) and type.shape is not None and len(type.shape) == 4 and type.dtype.is_float
