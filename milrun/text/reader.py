"""Reads MIL text into the protobuf message that a package would hold, so that everything after it is the same.

The grammar, with names in quotes where they are not identifiers::

    program   = "program" "(" version ")" [attributes] "{" function* "}"
    function  = "func" name "<" opset ">" "(" [typed {"," typed}] ")" [attributes] block [";"]
    block     = "{" statement* "}" "->" "(" [name {"," name}] ")"
    statement = [typed {"," typed} "="] op "(" [key "=" argument {"," …}] ")" [attributes] nested* ";"
    nested    = [name] ["(" [typed {"," typed}] ")"] block
    argument  = name | value | "(" [name | value {"," …}] ")"
    attributes= "[" key "=" value {"," …} "]"
    typed     = type name
    type      = "tensor" "<" element "," "[" sizes "]" ">" | element | "list" "<" type ["," size] ">"
              | "tuple" "<" type {"," type} ">" | "dict" "<" type "," type ">" | "state" "<" type ">"
    value     = type "(" content ")"
    content   = number | string | "true" | "false" | "[" … "]" | "{" … "}" | "(" … ")"
              | "BLOBFILE" "(" path "," offset ")"
"""

from __future__ import annotations

from typing import Any

from milrun.protobuf import MAX_DEPTH, OPSET_NAMES, program_class
from milrun.text.tokens import Tokens
from milrun.text.values import TYPES, Values

_OPSETS = {name.lower(): number for number, name in OPSET_NAMES.items()}


def read_program(text: str, place: str) -> Any:
    """Return the ``MILSpec.Program`` message that a program's text describes.

    Parameters
    ----------
    text
        The content of a ``model.mil``.
    place
        The file, as error messages name it.
    """
    return _Reader(Tokens(text, place)).program()


class _Reader(Values):
    """The structure of a program: functions, blocks, statements."""

    def program(self) -> Any:
        tokens, program = self.tokens, program_class()()
        tokens.take("program")
        tokens.take("(")
        program.version = int(float(tokens.take().text))
        tokens.take(")")
        self.remarks()
        tokens.take("{")
        while not tokens.skip("}"):
            tokens.take("func")
            name = tokens.name()
            if name in program.functions:
                raise tokens.error(f"the function {name!r} is written twice")
            self.function(program.functions[name])
        if tokens.next.kind != "end":
            raise tokens.error("the end expected")
        return program

    def function(self, function: Any) -> None:
        tokens = self.tokens
        tokens.take("<")
        opset = tokens.name()
        if opset.lower() not in _OPSETS:
            raise tokens.error(f"unknown opset {opset!r}, one of {', '.join(_OPSETS)}")
        function.opset = _OPSETS[opset.lower()]
        tokens.take(">")
        tokens.take("(")
        self.parameters(function.inputs)
        self.remarks()
        self.block(function.block_specializations[function.opset], 0)
        self.tokens.skip(";")

    def remarks(self) -> None:
        """Read the attributes of a program or a function and leave them: which compiler wrote it, and the flexible
        shapes, which the model's description has as well."""
        tokens = self.tokens
        if tokens.skip("["):
            while not tokens.skip("]"):
                tokens.name()
                tokens.take("=")
                self.type(type(program_class()().attributes["_"].type)(), 0)
                tokens.take("(")
                self.content(0)
                tokens.take(")")
                tokens.skip(",")

    def parameters(self, typed: Any) -> None:
        """Read ``type name`` pairs up to the closing parenthesis."""
        while not self.tokens.skip(")"):
            one = typed.add()
            self.type(one.type, 0)
            one.name = self.tokens.name()
            if self.tokens.next.text != ")":
                self.tokens.take(",")

    def block(self, block: Any, depth: int) -> None:
        tokens = self.tokens
        if depth > MAX_DEPTH:
            raise tokens.error(f"blocks nest deeper than {MAX_DEPTH}")
        tokens.take("{")
        while not tokens.skip("}"):
            self.statement(block.operations.add(), depth)
        tokens.take("->")
        tokens.take("(")
        while not tokens.skip(")"):
            block.outputs.append(tokens.name())
            if tokens.next.text != ")":
                tokens.take(",")

    def statement(self, operation: Any, depth: int) -> None:
        tokens = self.tokens
        first = tokens.next.text
        if first in TYPES:
            while True:
                one = operation.outputs.add()
                self.type(one.type, 0)
                one.name = tokens.name()
                if tokens.skip("="):
                    break
                tokens.take(",")
        operation.type = tokens.name()
        while tokens.skip("."):
            operation.type += f".{tokens.name()}"
        tokens.take("(")
        while not tokens.skip(")"):
            self.argument(operation)
            if tokens.next.text != ")":
                tokens.take(",")
        if tokens.skip("["):
            while not tokens.skip("]"):
                key = tokens.name()
                tokens.take("=")
                self.value(operation.attributes[key], 0)
                if tokens.next.text != "]":
                    tokens.take(",")
        while not tokens.skip(";"):
            self.nested(operation.blocks.add(), depth + 1)
            tokens.skip(",")

    def nested(self, block: Any, depth: int) -> None:
        tokens = self.tokens
        if tokens.next.kind in ("name", "string"):
            tokens.name()
        if tokens.skip("("):
            self.parameters(block.inputs)
        self.block(block, depth)

    def argument(self, operation: Any) -> None:
        tokens = self.tokens
        key = tokens.name()
        if key in operation.inputs:
            raise tokens.error(f"{operation.type} is given {key!r} twice")
        tokens.take("=")
        bindings = operation.inputs[key].arguments
        if not tokens.skip("("):
            self.binding(bindings.add())
            return
        while not tokens.skip(")"):
            self.binding(bindings.add())
            if tokens.next.text != ")":
                tokens.take(",")

    def binding(self, binding: Any) -> None:
        first = self.tokens.next
        if first.kind == "name" and (first.text in TYPES):
            self.value(binding.value, 0)
        else:
            binding.name = self.tokens.name()
