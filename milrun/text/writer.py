"""Writes an ML program as text, in the form that `milrun.text.reader` reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from milrun import dtypes
from milrun.dtypes import DType
from milrun.errors import ModelError
from milrun.program import immediate
from milrun.protobuf import OPSET_NAMES
from milrun.text.values import TYPES

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SHORT = re.compile(r"\.?0+p")
_INDENT = "    "


def write_program(program: Any, place: str) -> str:
    """Return a program as text.

    Parameters
    ----------
    program
        A ``MILSpec.Program`` message. Weights stay in their file: the text says where they lie.
    place
        The package, as error messages name it.
    """
    return "\n".join(_Writer(place).program(program)) + "\n"


class _Writer:
    def __init__(self, place: str) -> None:
        self.place = place

    def program(self, program: Any) -> Iterator[str]:
        yield f"program({program.version}.0)"
        yield "{"
        for name in sorted(program.functions):
            function = program.functions[name]
            opset = OPSET_NAMES.get(function.opset)
            if opset is None or function.opset not in function.block_specializations:
                raise ModelError(f"{self.place}: the function {name!r} has no block for the opset {function.opset!r}")
            inputs = ", ".join(map(self.typed, function.inputs))
            yield f"{_INDENT}func {_name(name)}<{opset.lower()}>({inputs}) {{"
            yield from self.body(function.block_specializations[function.opset], _INDENT)
        yield "}"

    def body(self, block: Any, indent: str) -> Iterator[str]:
        """Yield the lines between a block's braces and the line that closes it."""
        for operation in block.operations:
            yield from self.operation(operation, indent + _INDENT)
        yield f"{indent}}} -> ({', '.join(map(_name, block.outputs))});"

    def operation(self, operation: Any, indent: str) -> Iterator[str]:
        outputs = ", ".join(map(self.typed, operation.outputs))
        arguments = (f"{_name(key)} = {self.argument(operation.inputs[key])}" for key in sorted(operation.inputs))
        attributes = [f"{_name(key)} = {self.value(operation.attributes[key])}" for key in sorted(operation.attributes)]
        text = f"{indent}{outputs}{' = ' if outputs else ''}{operation.type}({', '.join(arguments)})"
        text += f"[{', '.join(attributes)}]" if attributes else ""
        for index, block in enumerate(operation.blocks):
            yield text
            yield f"{indent}block{index}({', '.join(map(self.typed, block.inputs))}) {{"
            *lines, last = self.body(block, indent)
            yield from lines
            text = last.removesuffix(";")
        yield f"{text};"

    def argument(self, argument: Any) -> str:
        bound = [
            _name(one.name) if one.WhichOneof("binding") == "name" else self.value(one.value)
            for one in argument.arguments
        ]
        return bound[0] if len(bound) == 1 else f"({', '.join(bound)})"

    def typed(self, named: Any) -> str:
        return f"{self.type(named.type)} {_name(named.name)}"

    def type(self, message: Any) -> str:
        kind = message.WhichOneof("type")
        if kind == "tensorType":
            tensor = message.tensorType
            if tensor.dataType not in dtypes.BY_NUMBER:
                raise ModelError(f"{self.place}: unknown element type {tensor.dataType}")
            sizes = ["..."] if tensor.rank < 0 else map(_size, tensor.dimensions)
            return f"tensor<{dtypes.BY_NUMBER[tensor.dataType]}, [{', '.join(sizes)}]>"
        if kind == "listType":
            return f"list<{self.type(message.listType.type)}, {_size(message.listType.length)}>"
        if kind == "stateType":
            return f"state<{self.type(message.stateType.wrappedType)}>"
        if kind == "tupleType":
            return f"tuple<{', '.join(map(self.type, message.tupleType.types))}>"
        if kind == "dictionaryType":
            pair = message.dictionaryType
            return f"dict<{self.type(pair.keyType)}, {self.type(pair.valueType)}>"
        raise ModelError(f"{self.place}: a value has no type")

    def value(self, message: Any) -> str:
        return f"{self.type(message.type)}({self.content(message)})"

    def content(self, message: Any) -> str:
        kind = message.WhichOneof("value")
        if kind == "blobFileValue":
            path, offset = _quoted(message.blobFileValue.fileName), message.blobFileValue.offset
            return f"BLOBFILE(path = tensor<string, []>({path}), offset = tensor<uint64, []>({offset}))"
        held = message.immediateValue
        kind = held.WhichOneof("value")
        if kind == "tensor":
            return self.tensor(message)
        if kind == "dictionary":
            pairs = (f"{{{self.content(pair.key)}, {self.content(pair.value)}}}" for pair in held.dictionary.values)
            return f"{{{', '.join(pairs)}}}"
        if kind in ("list", "tuple"):
            return f"({', '.join(map(self.content, getattr(held, kind).values))})"
        raise ModelError(f"{self.place}: a constant has no value")

    def tensor(self, message: Any) -> str:
        tensor = message.type.tensorType
        dtype = dtypes.BY_NUMBER.get(tensor.dataType)
        if dtype is None:
            raise ModelError(f"{self.place}: unknown element type {tensor.dataType}")
        shape = tuple(int(dimension.constant.size) for dimension in tensor.dimensions)
        found = immediate(message.immediateValue.tensor, dtype, shape, self.place)
        if isinstance(found, str):
            return _quoted(found)
        if isinstance(found, list):
            return _nested(np.array(found, dtype=object).reshape(shape), _quoted)
        values = found.float() if found.dtype is torch.bfloat16 else found
        return _nested(values.numpy(), lambda value: _number(value, dtype))


def _nested(array: Any, text: Any) -> str:
    if array.ndim == 0:
        return str(text(array.item()))
    return f"[{', '.join(_nested(np.asarray(part), text) for part in array)}]"


def _number(value: Any, dtype: DType) -> str:
    if dtype is dtypes.BOOL:
        return "true" if value else "false"
    if not dtype.is_float:
        return str(int(value))
    return _SHORT.sub("p", float(value).hex(), count=1) if np.isfinite(value) else repr(float(value))


def _size(dimension: Any) -> str:
    if dimension.WhichOneof("dimension") == "constant":
        return str(dimension.constant.size)
    return "..." if dimension.unknown.variadic else "?"


def _name(text: str) -> str:
    """Return a name, in quotes where it is not an identifier or would be read as a type."""
    return text if _IDENTIFIER.fullmatch(text) and text not in TYPES else _quoted(text)


def _quoted(text: str) -> str:
    for character, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        text = text.replace(character, escaped)
    return f'"{text}"'
