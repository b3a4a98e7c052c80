"""The ML program of a package as plain data: functions, blocks, operations, values; checked while it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from milrun import dtypes
from milrun.blob import BlobFile, count, decode
from milrun.dtypes import DType
from milrun.errors import ModelError
from milrun.package import Package
from milrun.protobuf import MAX_DEPTH, OPSET_NAMES

MAX_RANK = 64
"""torch computes with no tensors of more dimensions."""


@dataclass(frozen=True)
class TensorType:
    """Element type and shape; ``None`` is a size known only at run time, a shape of ``None`` an unknown rank."""

    dtype: DType
    shape: tuple[int | None, ...] | None

    def least_bytes(self) -> int:
        """Return the bytes of a tensor of this type, as far as its sizes are known."""
        known = tuple(size for size in self.shape or () if size is not None)
        return count(known) * self.dtype.storage.itemsize

    def __str__(self) -> str:
        sizes = "..." if self.shape is None else ", ".join("?" if s is None else str(s) for s in self.shape)
        return f"{self.dtype}[{sizes}]"


@dataclass(frozen=True)
class ListType:
    element: Type

    def __str__(self) -> str:
        return f"list[{self.element}]"


@dataclass(frozen=True)
class StateType:
    wrapped: Type

    def __str__(self) -> str:
        return f"state[{self.wrapped}]"


@dataclass(frozen=True)
class OpaqueType:
    """A tuple or a dictionary: legal in the format, carried by classifiers only."""

    kind: str

    def __str__(self) -> str:
        return self.kind


Type = TensorType | ListType | StateType | OpaqueType
Datum = Tensor | str | list[Any]
"""Content of a constant: a tensor, a string, or a list of either."""


@dataclass
class Value:
    """A constant of the program. Weights stay in their file until they are asked for."""

    type: Type
    storage: str
    """``immediate`` or ``file``."""
    load: Callable[[], Datum]
    """Decodes the constant anew at every call: only the plan keeps what it executes with."""
    decoded_bytes: int = 0
    """Bytes in memory of a value that can't be used as it lies in the file."""


Argument = str | Value
"""A reference to a named value, or a constant written in place."""


@dataclass
class Operation:
    """One op: its arguments by parameter name (more than one for a variadic parameter) and its typed results."""

    type: str
    name: str
    inputs: dict[str, list[Argument]]
    outputs: list[tuple[str, Type]]
    blocks: list[Block] = field(default_factory=list)
    place: str = ""

    @property
    def where(self) -> str:
        return f"{self.place}: op {self.name or (self.outputs[0][0] if self.outputs else '?')!r} ({self.type})"


@dataclass
class Block:
    inputs: list[tuple[str, Type]]
    operations: list[Operation]
    outputs: list[str]
    place: str = ""

    def walk(self) -> Iterator[Operation]:
        """Yield every op, those of nested blocks after the op that holds them."""
        for operation in self.operations:
            yield operation
            for block in operation.blocks:
                yield from block.walk()


def names_read(block: Block) -> Iterator[str]:
    """Yield every name that a block reads, as often as it does."""
    yield from block.outputs
    for operation in block.operations:
        for arguments in operation.inputs.values():
            yield from (argument for argument in arguments if isinstance(argument, str))
        for inner in operation.blocks:
            yield from names_read(inner)


@dataclass
class Function:
    name: str
    opset: str
    inputs: list[tuple[str, Type]]
    body: Block
    stored_bytes: int = 0
    """Bytes on disk of what it is made of: the program itself, and the weights that it refers to."""


def read_functions(message: Any, package: Package) -> dict[str, Function]:
    """Return the functions of an ``MILSpec.Program`` message."""
    reader = _Reader(package)
    return {name: reader.function(name, message.functions[name]) for name in sorted(message.functions)}


class _Reader:
    def __init__(self, package: Package) -> None:
        self.package = package
        self.weights: dict[BlobFile, dict[int, int]] = {}
        """The bytes of each weight that the function refers to, by file and offset."""

    def function(self, name: str, message: Any) -> Function:
        place = f"{self.package.path}: function {name!r}"
        opset = OPSET_NAMES.get(message.opset)
        if opset is None:
            raise ModelError(f"{place}: unknown opset {message.opset!r}, one of {', '.join(OPSET_NAMES)}")
        if message.opset not in message.block_specializations:
            raise ModelError(f"{place}: there is no block for its opset {message.opset!r}")
        inputs = [(i.name, self.type(i.type, place)) for i in message.inputs]
        self.weights.clear()
        body = self.block(message.block_specializations[message.opset], place)
        # A sparse file has fewer bytes on disk than its size says.
        weights = sum(min(sum(records.values()), blob.bytes_on_disk()) for blob, records in self.weights.items())
        return Function(name, opset, inputs, body, message.ByteSize() + weights)

    def block(self, message: Any, place: str, depth: int = 0) -> Block:
        if depth > MAX_DEPTH:
            raise ModelError(f"{place}: blocks nest deeper than {MAX_DEPTH}")
        return Block(
            inputs=[(i.name, self.type(i.type, place)) for i in message.inputs],
            operations=[self.operation(op, place, depth) for op in message.operations],
            outputs=list(message.outputs),
            place=place,
        )

    def operation(self, message: Any, place: str, depth: int) -> Operation:
        name = ""
        inputs: dict[str, list[Argument]] = {}
        for key, attribute in message.attributes.items():
            if key == "name":
                name = str(self.value(attribute, place).load())
            else:
                inputs[key] = [self.value(attribute, f"{place}: op of type {message.type!r}, {key!r}")]
        operation = Operation(message.type, name, inputs, [], place=place)
        for key, argument in message.inputs.items():
            if key in inputs:
                raise ModelError(f"{operation.where}: {key!r} is both an attribute and an input")
            inputs[key] = [self.binding(b, f"{operation.where}, {key!r}") for b in argument.arguments]
        operation.outputs = [(o.name, self.type(o.type, operation.where)) for o in message.outputs]
        operation.blocks = [self.block(b, operation.where, depth + 1) for b in message.blocks]
        return operation

    def binding(self, message: Any, place: str) -> Argument:
        kind = message.WhichOneof("binding")
        if kind == "name":
            return str(message.name)
        if kind == "value":
            return self.value(message.value, place)
        raise ModelError(f"{place}: an argument is neither a name nor a value")

    def type(self, message: Any, place: str, depth: int = 0) -> Type:
        if depth > MAX_DEPTH:
            raise ModelError(f"{place}: types nest deeper than {MAX_DEPTH}")
        kind = message.WhichOneof("type")
        if kind == "tensorType":
            return self.tensor_type(message.tensorType, place)
        if kind == "listType":
            return ListType(self.type(message.listType.type, place, depth + 1))
        if kind == "stateType":
            return StateType(self.type(message.stateType.wrappedType, place, depth + 1))
        if kind in ("tupleType", "dictionaryType"):
            return OpaqueType(kind.removesuffix("Type"))
        raise ModelError(f"{place}: a value has no type")

    def tensor_type(self, message: Any, place: str) -> TensorType:
        dtype = dtypes.BY_NUMBER.get(message.dataType)
        if dtype is None:
            raise ModelError(f"{place}: unknown element type {message.dataType}")
        if message.rank > MAX_RANK or len(message.dimensions) > MAX_RANK:
            raise ModelError(f"{place}: a type of rank {message.rank}, more than {MAX_RANK}")
        if message.rank < 0:
            return TensorType(dtype, None)
        shape: list[int | None] = []
        for dimension in message.dimensions:
            if dimension.WhichOneof("dimension") == "constant":
                shape.append(dimension.constant.size)
            elif dimension.unknown.variadic:
                return TensorType(dtype, None)
            else:
                shape.append(None)
        if len(shape) != message.rank:
            raise ModelError(f"{place}: a type of rank {message.rank} has {len(shape)} dimensions")
        return TensorType(dtype, tuple(shape))

    def value(self, message: Any, place: str, depth: int = 0) -> Value:
        if depth > MAX_DEPTH:
            raise ModelError(f"{place}: values nest deeper than {MAX_DEPTH}")
        type = self.type(message.type, place)
        kind = message.WhichOneof("value")
        if kind == "blobFileValue":
            dtype, shape = _constant_type(type, place)
            blob = self.package.blob(message.blobFileValue.fileName)
            offset = message.blobFileValue.offset
            self.weights.setdefault(blob, {})[offset] = (count(shape) * dtype.bits + 7) // 8
            decoded = 0 if dtype.storage.itemsize * 8 == dtype.bits else count(shape) * dtype.storage.itemsize
            return Value(type, "file", lambda: blob.tensor(offset, dtype, shape), decoded)
        if kind != "immediateValue":
            raise ModelError(f"{place}: a constant has no value")
        content = message.immediateValue
        kind = content.WhichOneof("value")
        if kind == "tensor":
            dtype, shape = _constant_type(type, place)
            return Value(type, "immediate", lambda: immediate(content.tensor, dtype, shape, place))
        if kind == "list":
            items = [self.value(item, place, depth + 1).load() for item in content.list.values]
            return Value(type, "immediate", lambda: items)
        if kind == "dictionary" and isinstance(type, OpaqueType):
            return Value(type, "immediate", lambda: [])
        raise ModelError(f"{place}: a constant of the kind {kind!r} is not known")


def _constant_type(type: Type, place: str) -> tuple[DType, tuple[int, ...]]:
    if not isinstance(type, TensorType) or type.shape is None:
        raise ModelError(f"{place}: a constant has the type {type}, which is not a tensor of known shape")
    shape = tuple(size for size in type.shape if size is not None)
    if len(shape) != len(type.shape):
        raise ModelError(f"{place}: a constant has the type {type}, whose shape is not fully known")
    return type.dtype, shape


def immediate(message: Any, dtype: DType, shape: tuple[int, ...], place: str) -> Datum:
    """Return a constant that is written in place, decoded from its ``TensorValue`` message."""
    kind = message.WhichOneof("value")
    values: Any = getattr(message, kind).values if kind else []
    if dtype is dtypes.STRING:
        if kind != "strings" or len(values) != count(shape):
            raise ModelError(f"{place}: a string constant of shape {shape} has {len(values)} values of kind {kind}")
        return str(values[0]) if shape == () else [str(v) for v in values]
    if kind == "bytes":
        if len(values) != (count(shape) * dtype.bits + 7) // 8:
            raise ModelError(f"{place}: {len(values)} bytes given for a {dtype} constant of shape {shape}")
        return decode(values, dtype, shape)
    if len(values) != count(shape):
        raise ModelError(f"{place}: {len(values)} values given for a {dtype} constant of shape {shape}")
    if kind is not None and kind not in _FIELDS.get(dtype, ()):
        raise ModelError(f"{place}: a {dtype} constant is written as {kind}")
    try:
        return torch.tensor(list(values), dtype=dtype.storage).reshape(shape)
    except (RuntimeError, OverflowError, TypeError) as error:
        raise ModelError(f"{place}: a {dtype} constant has values outside its type: {error}") from error


_FIELDS = {
    dtypes.BOOL: ("bools",),
    dtypes.FP16: ("floats",),
    dtypes.FP32: ("floats",),
    dtypes.FP64: ("doubles",),
    dtypes.INT8: ("ints",),
    dtypes.INT16: ("ints",),
    dtypes.INT32: ("ints",),
    dtypes.UINT8: ("ints",),
    dtypes.UINT16: ("ints",),
    dtypes.UINT32: ("ints", "longInts"),
    dtypes.INT64: ("longInts",),
    dtypes.UINT64: ("longInts",),
}
