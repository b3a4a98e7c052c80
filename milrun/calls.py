"""One call of an op while compiling: its arguments sorted into constants and run-time operands, and its kernel."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from milrun import kernels
from milrun.arguments import converter, is_tensor_form, python_value, takes_several
from milrun.errors import ModelError
from milrun.kernels import Operand
from milrun.plan import Env
from milrun.program import ListType, Operation
from milrun.registry import OpDef, Parameter, parameters_of, preparers
from milrun.values import BlockValues, Ref


class Call:
    """The arguments of one op, sorted into constants and run-time operands."""

    def __init__(self, values: BlockValues, operation: Operation, definition: OpDef) -> None:
        self.values = values
        self.operation = operation
        self.definition = definition
        self.runtime_numbers = False
        """True if it takes numbers or lists of them, not as tensors, that only a run knows."""
        self.numerics = values.shared.numerics
        names = [parameter.name for parameter in definition.parameters]
        for name in operation.inputs:
            if name not in names:
                raise ModelError(f"{operation.where} has an argument {name!r}, known are {', '.join(names)}")
        self.refs = {name: values.refs(operation, name) for name in operation.inputs}
        self.refs = {name: refs for name, refs in self.refs.items() if refs or operation.inputs[name] == []}
        for parameter in definition.parameters:
            self.check(parameter)
        refs = [ref for group in self.refs.values() for ref in group]
        self.all_constant = all(ref.is_constant for ref in refs)
        tensors = [p.name for p in definition.parameters if is_tensor_form(p.form)]
        operands = [ref for name in tensors for ref in self.refs.get(name, [])]
        floats = {values.shared.want(ref.type) for ref in operands} & {torch.float16, torch.float32}
        as_stored = self.numerics.works_as_stored(operation.type) and len(floats) < 2
        self.widen = not as_stored and not operation.type.startswith("constexpr_lut")

    def check(self, parameter: Parameter) -> None:
        refs = self.refs.get(parameter.name)
        if refs is None:
            if not parameter.optional and parameter.form is not torch.Generator:
                raise ModelError(f"{self.operation.where} lacks its argument {parameter.name!r}")
        elif not takes_several(parameter.form) and len(refs) != 1:
            raise ModelError(f"{self.operation.where} has {len(refs)} values for its argument {parameter.name!r}")

    def bind(self, writes: tuple[int, ...]) -> tuple[Any, set[int]]:
        """Return the step's function, and the slots it reads."""
        kernel, parameters, taken = self.kernel()
        operands: list[Operand] = []
        constants: dict[str, Any] = {}
        self.taken, self.operands, self.constants = taken, operands, constants
        for parameter in parameters:
            if parameter.name in taken:
                continue
            if parameter.form is torch.Generator:
                operands.append(Operand(parameter.name, (0,), convert=lambda context: context.generator))
                continue
            refs = self.refs.get(parameter.name)
            if refs is None:
                continue
            if is_tensor_form(parameter.form):
                operands.append(self.tensor_operand(parameter, refs))
            elif all(ref.is_constant for ref in refs):
                constants[parameter.name] = self.python_constant(parameter, refs)
            else:
                self.runtime_numbers = True
                slots = tuple(self.values.stored(ref) for ref in refs)
                operands.append(Operand(parameter.name, slots, len(refs) > 1, converter(parameter.form)))
        for rule in self.numerics.rules:
            if self.operation.type in rule.ops:
                kernel = rule.bend(kernel, self.operation.type)
        wants = tuple(self.values.shared.want(type) for _, type in self.operation.outputs)
        positions = [parameter.name for parameter in parameters if parameter.name not in taken]
        run = kernels.bind(kernel, positions, operands, constants, writes, wants)
        return run, {slot for operand in operands for slot in operand.slots if slot}

    def foreseen(self, table: dict[str, Callable[..., int]]) -> Callable[[Env], int] | None:
        """Return what a table tells of the op before it runs: how much it makes, or how much work that is."""
        tell = table.get(self.operation.type)
        if tell is None:
            return None
        # Of what a kernel has swallowed only the shapes count, and holding the weights would keep them twice.
        shapes = {name: value.to("meta") if isinstance(value, Tensor) else value for name, value in self.taken.items()}
        known, operands = shapes | self.constants, self.operands
        return lambda env: tell(**known, **{operand.name: operand.fetch(env) for operand in operands})

    def tensor_operand(self, parameter: Parameter, refs: list[Ref]) -> Operand:
        for ref in refs:
            if ref.is_constant and not isinstance(ref.datum, Tensor | list):
                raise ModelError(f"{self.operation.where}: {parameter.name!r} is text where a tensor is wanted")
        slots = tuple(self.slot(ref) for ref in refs)
        holds_list = len(refs) == 1 and isinstance(refs[0].type, ListType)
        return Operand(parameter.name, slots, is_list=parameter.form == list[torch.Tensor] and not holds_list)

    def slot(self, ref: Ref) -> int:
        return self.values.widened(ref, self.operation) if self.widen else self.values.stored(ref)

    def python_constant(self, parameter: Parameter, refs: list[Ref]) -> Any:
        data: list[Any] = [ref.datum for ref in refs]
        try:
            return python_value(parameter.form, data[0] if len(data) == 1 else data)
        except (TypeError, ValueError, OverflowError) as error:
            raise ModelError(f"{self.operation.where}: argument {parameter.name!r}: {error}") from error

    def kernel(self) -> tuple[Any, tuple[Parameter, ...], dict[str, Any]]:
        """Return the function to call, its parameters, and the arguments that it has swallowed already."""
        for preparer in () if self.numerics.rules else preparers(self.operation.type):
            if (settled := self.settled(preparer)) is None:
                continue
            try:
                prepared = preparer(**settled)
            except Exception as error:
                raise ModelError(f"{self.operation.where}: {error}") from error
            if prepared is None:
                continue
            left = {p.name: p for p in self.definition.parameters}
            order = [left[name] for name in inspect.signature(prepared).parameters]
            if not self.refs.keys() - settled.keys() - {p.name for p in order}:
                return prepared, tuple(order), settled
        return self.definition.run, self.definition.parameters, {}

    def settled(self, preparer: Any) -> dict[str, Any] | None:
        """Return the arguments that a preparer takes, or None if one of them is not a constant."""
        found: dict[str, Any] = {}
        for parameter in parameters_of(preparer):
            refs = self.refs.get(parameter.name)
            if refs is None and parameter.optional:
                continue
            if refs is None or not all(ref.is_constant for ref in refs):
                return None
            if is_tensor_form(parameter.form):
                found[parameter.name] = self.values.constant(refs[0], self.widen)
            else:
                found[parameter.name] = self.python_constant(parameter, refs)
        return found
