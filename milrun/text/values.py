"""Types and constants in MIL text."""

from __future__ import annotations

import struct
from typing import Any

from milrun import dtypes
from milrun.dtypes import DType
from milrun.protobuf import MAX_DEPTH, program_class
from milrun.text.tokens import Tokens

_BLOB = "BLOBFILE"
_FIELD = {
    dtypes.BOOL: "bools",
    dtypes.STRING: "strings",
    dtypes.FP16: "floats",
    dtypes.FP32: "floats",
    dtypes.FP64: "doubles",
    dtypes.UINT32: "longInts",
    dtypes.INT64: "longInts",
    dtypes.UINT64: "longInts",
}
"""Fields of the message by type; integers of up to 32 bits are ``ints``, smaller than a byte ``bytes``."""


class Values:
    """A reader of types and constants, each into its protobuf message."""

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens

    def type(self, message: Any, depth: int) -> None:
        tokens = self.tokens
        if depth > MAX_DEPTH:
            raise tokens.error(f"types nest deeper than {MAX_DEPTH}")
        kind = tokens.name()
        if kind in _ELEMENTS:
            message.tensorType.dataType = _ELEMENTS[kind].number
            message.tensorType.rank = 0
            return
        if kind not in _COMPOUND:
            raise tokens.error(f"a type expected, {kind!r} is none; before")
        tokens.take("<")
        if kind == "tensor":
            self.tensor_type(message.tensorType)
        elif kind == "list":
            self.type(message.listType.type, depth + 1)
            if tokens.skip(","):
                self.size(message.listType.length)
        elif kind == "state":
            self.type(message.stateType.wrappedType, depth + 1)
        elif kind == "dict":
            self.type(message.dictionaryType.keyType, depth + 1)
            tokens.take(",")
            self.type(message.dictionaryType.valueType, depth + 1)
        else:
            message.tupleType.SetInParent()
            while tokens.next.text != ">":
                self.type(message.tupleType.types.add(), depth + 1)
                if tokens.next.text != ">":
                    tokens.take(",")
        tokens.take(">")

    def tensor_type(self, message: Any) -> None:
        tokens = self.tokens
        element = tokens.name()
        if element not in _ELEMENTS:
            raise tokens.error(f"unknown element type {element!r}; before")
        message.dataType = _ELEMENTS[element].number
        tokens.take(",")
        tokens.take("[")
        while not tokens.skip("]"):
            self.size(message.dimensions.add())
            if tokens.next.text != "]":
                tokens.take(",")
        message.rank = len(message.dimensions)

    def size(self, dimension: Any) -> None:
        tokens = self.tokens
        if tokens.skip("?"):
            dimension.unknown.variadic = False
        elif tokens.skip("."):
            tokens.take(".")
            tokens.take(".")
            dimension.unknown.variadic = True
        else:
            size = self.integer()
            if not 0 <= size < 1 << 63:
                raise tokens.error(f"a size of {size}; before")
            dimension.constant.size = size

    def integer(self) -> int:
        token = self.tokens.next
        if token.kind not in _NUMBERS:
            raise self.tokens.error("a number expected")
        try:
            value = int(token.text, 0)
        except ValueError:
            raise self.tokens.error("an integer expected") from None
        self.tokens.take()
        return value

    def value(self, message: Any, depth: int) -> None:
        self.type(message.type, depth)
        self.tokens.take("(")
        if self.tokens.next.text == _BLOB and self.tokens.next.kind == "name":
            self.tokens.take()
            self.stored(message.blobFileValue)
        else:
            self.fill(message, self.content(depth))
        self.tokens.take(")")

    def stored(self, message: Any) -> None:
        """Read where a weight lies: ``(path = …, offset = …)``."""
        tokens = self.tokens
        tokens.take("(")
        given: dict[str, Any] = {}
        while not tokens.skip(")"):
            key = tokens.take("path", "offset").text
            tokens.take("=")
            value = program_class()().attributes["_"]
            self.value(value, 0)
            kind = value.immediateValue.tensor.WhichOneof("value")
            found = getattr(value.immediateValue.tensor, kind).values if kind else []
            if len(found) != 1 or (key == "path") is not isinstance(found[0], str):
                raise tokens.error(f"the {key} of a weight is one {'string' if key == 'path' else 'integer'}; before")
            given[key] = found[0]
            tokens.skip(",")
        if given.keys() != {"path", "offset"} or given["offset"] < 0:
            raise tokens.error("a weight has a path and an offset; before")
        message.fileName, message.offset = given["path"], given["offset"]

    def content(self, depth: int) -> Any:
        """Return what stands in a value's parentheses: numbers as they are written, strings, lists."""
        tokens = self.tokens
        if depth > MAX_DEPTH:
            raise tokens.error(f"values nest deeper than {MAX_DEPTH}")
        if tokens.next.kind == "string":
            return tokens.string()
        if tokens.next.kind in _NUMBERS:
            return _Number(tokens.take().text)
        if tokens.next.text in _CLOSING:
            closing = _CLOSING[tokens.take().text]
            items: list[Any] = []
            while not tokens.skip(closing):
                items.append(self.content(depth + 1))
                if tokens.next.text != closing:
                    tokens.take(",")
            return items
        if tokens.next.text in ("true", "false"):
            return tokens.take().text == "true"
        if tokens.next.kind == "name":  # a value that says its type, within another
            nested = program_class()().attributes["_"]
            self.value(nested, depth + 1)
            return nested
        raise tokens.error("a value expected")

    def fill(self, message: Any, content: Any) -> None:
        """Put a content into a value, as its type says."""
        if isinstance(content, type(message)):
            message.CopyFrom(content)
            return
        kind = message.type.WhichOneof("type")
        if kind == "tensorType":
            self.tensor(message, list(_flat(content)))
            return
        if kind == "stateType" or not isinstance(content, list):
            raise self.tokens.error(f"a value of type {kind} can't be {content!r}; before")
        value = message.immediateValue
        if kind == "dictionaryType":
            value.dictionary.SetInParent()
            for pair in content:
                if not isinstance(pair, list) or len(pair) != 2:
                    raise self.tokens.error("a dictionary is made of pairs; before")
                entry = value.dictionary.values.add()
                entry.key.type.CopyFrom(message.type.dictionaryType.keyType)
                entry.value.type.CopyFrom(message.type.dictionaryType.valueType)
                self.fill(entry.key, pair[0])
                self.fill(entry.value, pair[1])
            return
        types = message.type.tupleType.types if kind == "tupleType" else [message.type.listType.type] * len(content)
        if len(types) != len(content):
            raise self.tokens.error(f"a tuple of {len(types)} types has {len(content)} values; before")
        items = value.tuple if kind == "tupleType" else value.list
        items.SetInParent()
        for type_, item in zip(types, content, strict=True):
            one = items.values.add()
            one.type.CopyFrom(type_)
            self.fill(one, item)

    def tensor(self, message: Any, content: list[Any]) -> None:
        dtype = dtypes.BY_NUMBER[message.type.tensorType.dataType]
        tensor = message.immediateValue.tensor
        wanted: Any = str if dtype is dtypes.STRING else bool if dtype is dtypes.BOOL else _Number
        if wrong := [item for item in content if not isinstance(item, wanted)]:
            raise self.tokens.error(f"a {dtype} value can't be {wrong[0]!r}; before")
        try:
            numbers = [item.value(dtype) if isinstance(item, _Number) else item for item in content]
            if dtype is dtypes.BF16:
                tensor.bytes.values = b"".join(struct.pack("<f", number)[2:] for number in numbers)
            elif dtype.bits and dtype.bits < 8:
                tensor.bytes.values = _packed(numbers, dtype)
            else:
                field = getattr(tensor, _FIELD.get(dtype, "ints"))
                field.SetInParent()
                field.values.extend(numbers)
        except (ValueError, OverflowError, TypeError) as error:
            raise self.tokens.error(f"a {dtype} value is outside its type: {error}; before") from None


class _Number(str):
    """A number as it is written: what it is depends on the type that it fills."""

    __slots__ = ()

    def value(self, dtype: DType) -> Any:
        if not dtype.is_float:
            return int(self, 0)
        return float.fromhex(self) if "x" in self.lower() else float(self)


def _flat(content: Any) -> Any:
    if isinstance(content, list):
        for item in content:
            yield from _flat(item)
    else:
        yield content


def _packed(numbers: list[int], dtype: DType) -> bytes:
    """Return integers of less than a byte packed from the lowest bit on, as the format has them."""
    low, high = (-(1 << dtype.bits - 1), 1 << dtype.bits - 1) if dtype is dtypes.INT4 else (0, 1 << dtype.bits)
    total = 0
    for index, number in enumerate(numbers):
        if not low <= number < high:
            raise ValueError(f"{number} takes more than {dtype.bits} bits")
        total |= (number & ((1 << dtype.bits) - 1)) << index * dtype.bits
    return total.to_bytes((len(numbers) * dtype.bits + 7) // 8, "little")


_ELEMENTS = dtypes.BY_NAME
_NUMBERS = ("decimal", "hexadecimal", "special")
_COMPOUND = ("tensor", "list", "tuple", "dict", "state")
_CLOSING = {"[": "]", "{": "}", "(": ")"}
TYPES = frozenset((*_ELEMENTS, *_COMPOUND))
"""The words that a type begins with."""
